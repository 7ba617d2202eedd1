#pragma once
/// A blunt HTTP client for tests: blocking sockets, bytes in and out, nothing clever.
#include <cstdint>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace hadal {

/// One connection to 127.0.0.1. Reads give up after 20 s, so a hanging server fails the test.
class TestClient {
 public:
  explicit TestClient(uint16_t port, int receive_buffer = 0) {
    fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
    if (receive_buffer > 0) {
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    const timeval timeout{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~TestClient() { hang_up(); }
  TestClient(const TestClient&) = delete;

  bool connected() const { return connected_; }
  void hang_up() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  /// False when the peer has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  /// Reads until `mark` has come (everything up to and with it is returned) or the end.
  std::string read_until(std::string_view mark) {
    for (;;) {
      const size_t at = mark.empty() ? std::string::npos : buffer_.find(mark);
      if (at != std::string::npos) return take(at + mark.size());
      if (!read_more()) return take(buffer_.size());
    }
  }
  std::string read_to_end() { return read_until(""); }
  /// Head and body of a reply that has a Content-Length.
  std::string read_reply() {
    std::string head = read_until("\r\n\r\n");
    const size_t at = head.find("Content-Length: ");
    if (at == std::string::npos) return head;
    const size_t length = static_cast<size_t>(std::strtoul(head.c_str() + at + 16, nullptr, 10));
    while (buffer_.size() < length && read_more()) {
    }
    return head + take(std::min(length, buffer_.size()));
  }
  /// The peer has closed and nothing is left.
  bool at_end() { return buffer_.empty() && !read_more(); }

 private:
  std::string take(size_t count) {
    std::string out = buffer_.substr(0, count);
    buffer_.erase(0, count);
    return out;
  }
  bool read_more() {
    char bytes[4096];
    const ssize_t n = ::recv(fd_, bytes, sizeof(bytes), 0);
    if (n <= 0) return false;
    buffer_.append(bytes, static_cast<size_t>(n));
    return true;
  }

  int fd_ = -1;
  bool connected_ = false;
  std::string buffer_;
};

}  // namespace hadal

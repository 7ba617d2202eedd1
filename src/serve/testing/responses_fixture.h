#pragma once
/// What tests of the Responses API share.
#include <chrono>
#include <string>
#include <thread>

#include "serve/testing/service_fixture.h"

namespace hadal {

class ResponsesTest : public ServiceTest {
 protected:
  static json::value parsed(const std::string& text) {
    auto value = parse_json(text);
    EXPECT_TRUE(value.ok()) << text;
    return value.ok() ? std::move(value).value() : json::value();
  }
  static std::string id_of(const Reply& reply) {
    return std::string(reply.body.at("id").get_string());
  }
  static std::string status_of(const Reply& reply) {
    return std::string(reply.body.at("status").get_string());
  }
  static std::string text_of(const Reply& reply) {
    for (const json::value& item : reply.body.at("output").get_array()) {
      if (item.at("type").get_string() != "message") continue;
      return std::string(item.at("content").get_array()[0].at("text").get_string());
    }
    return "";
  }
  Reply wait_for_end(const std::string& id) {
    for (;;) {
      Reply reply = get("/v1/responses/" + id);
      const std::string status = reply.status == 200 ? status_of(reply) : "";
      if (status != "queued" && status != "in_progress") return reply;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
};

}  // namespace hadal

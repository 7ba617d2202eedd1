#pragma once
/// Who answers in `hadal chat`: a model in this process, or a server.
#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "app/app.h"
#include "app/sampling_options.h"
#include "app/speculation.h"
#include "base/json.h"
#include "text/output_parser.h"

namespace hadal {

/// One answer and how fast it came.
struct ChatAnswer {
  std::string content;
  bool cut_off = false;  ///< by the length limit or by the user
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  double prefill_tps = 0;  ///< 0: not known
  double decode_tps = 0;
};

/// Used by one thread.
class ChatBackend {
 public:
  virtual ~ChatBackend() = default;
  /// What the user talks to, in a few words.
  virtual std::string description() const = 0;
  /// Answers `messages` (role and content each), handing on text as it comes; `stopped` ends it
  /// early, which is no error.
  virtual Result<ChatAnswer> answer(const json::array& messages,
                                    const std::function<void(const OutputPiece&)>& on_piece,
                                    const std::atomic<bool>& stopped) = 0;
};

struct ChatBackendOptions {
  SamplingOptions sampling;
  SpeculationOptions speculation;  ///< of a model in this process
  int64_t max_tokens = 0;          ///< 0: as many as fit
  int64_t context = 0;             ///< 0: chosen
};

/// Takes the model over.
Result<std::unique_ptr<ChatBackend>> make_local_chat(LoadedModel model,
                                                     const ChatBackendOptions& options,
                                                     const Settings& settings);
/// `url`: "http://127.0.0.1:8000", with or without "/v1". Asks the server which model it has
/// unless `model` names one.
Result<std::unique_ptr<ChatBackend>> make_remote_chat(const std::string& url,
                                                      const std::string& model,
                                                      const ChatBackendOptions& options);

}  // namespace hadal

#pragma once
/// base: what every room stands on.
///
/// Result and Error (what can fail for outside reasons), CHECK (our own bugs), named limits, Env
/// (clock, files, randomness), Mutex, ThreadPool, log, JSON, UTF-8. Nothing here knows of models,
/// text or networks. Nothing here keeps global state except the log sink.
///
///   Result<std::string> text = Env::real().read_file(path, Limits::kConfigFileBytes);
///   if (!text.ok()) return text.error();
#include "base/check.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/result.h"

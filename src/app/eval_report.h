#pragma once
/// The table of `hadal eval report`: what several files of one model cost and what they lose.
#include <functional>
#include <string>
#include <vector>

#include "app/app.h"
#include "app/scoring.h"
#include "base/json.h"

namespace hadal {

struct ReportRow {
  std::string name;
  uint64_t file_bytes = 0;
  double bits_per_weight = 0;  ///< over all tensors
  double prefill_tps = 0;      ///< 0: not measured
  double decode_tps = 0;
  Divergence quality;  ///< from the reference, on the text
};

/// Bits that the file's tensors take per value.
double bits_per_weight(const GgufFile& file);

/// Speed of a short prompt and some tokens after it; only a comparison within one report.
Status measure_speed(LoadedModel& model, ReportRow& row);

std::string report_text(const std::vector<ReportRow>& rows);
json::object report_json(const std::vector<ReportRow>& rows, const std::string& reference);

}  // namespace hadal

// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// nlohmann::json accepts duplicate keys, of which it keeps the last, and any depth; the parser callback refuses both.
#include "formats/container/strict_json.h"

#include <set>
#include <vector>

#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

using nlohmann::json;

constexpr int max_depth = 16;  // a torchao entry needs 3

class StrictnessCheck {
 public:
  explicit StrictnessCheck(const std::string& where) : where_(where) {}

  void operator()(int depth, json::parse_event_t event, const json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
        check_depth(depth);
        keys_of_open_objects_.emplace_back();
        break;
      case json::parse_event_t::key: check_new_key(parsed.get_ref<const std::string&>()); break;
      case json::parse_event_t::object_end: keys_of_open_objects_.pop_back(); break;
      case json::parse_event_t::array_start: check_depth(depth); break;
      case json::parse_event_t::array_end:
      case json::parse_event_t::value: break;
    }
  }

 private:
  void check_depth(int depth) const {
    if (depth >= max_depth) fail("{}: JSON is nested deeper than {}", where_, max_depth);
  }

  void check_new_key(const std::string& key) {
    const bool is_new = keys_of_open_objects_.back().insert(key).second;
    if (!is_new) fail("{}: JSON has the key {} twice in one object", where_, shown(key));
  }

  const std::string& where_;
  std::vector<std::set<std::string>> keys_of_open_objects_;
};

}  // namespace

json parse_strict_json(std::string_view text, const std::string& where) {
  // nlohmann's lexer takes a NUL for the end of the text, whatever follows.
  if (text.find('\0') != std::string_view::npos) fail("{}: JSON has a NUL byte", where);
  StrictnessCheck check(where);
  const auto callback = [&check](int depth, json::parse_event_t event, const json& parsed) {
    check(depth, event, parsed);
    return true;
  };
  try {
    return json::parse(text, callback);
  } catch (const json::exception& error) {
    fail("{}: bad JSON: {}", where, shown(error.what(), 200));
  }
}

}  // namespace zenwoq::formats

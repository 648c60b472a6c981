// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// nlohmann::json accepts duplicate keys, of which it keeps the last, any depth, and takes many times a text's bytes;
// the parser's events refuse all three.
#include "formats/container/strict_json.h"

#include <set>
#include <utility>
#include <vector>

#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

using nlohmann::json;

constexpr int max_depth = 16;  // a torchao entry needs 3

// The lexer keeps all since the last string or number began, that and what it decodes grow by doubling, and an error
// has them several times more.
constexpr std::size_t max_string_bytes = 1u << 20;
constexpr std::size_t max_other_bytes = 1u << 16;

// What values and keys take in memory at most, beside their text: nodes and vectors that grow.
constexpr std::size_t value_cost = 64;
constexpr std::size_t key_cost = 256;
constexpr std::size_t own_budget = 8u << 20;

constexpr std::size_t max_walked_keys = 4096;  // of an object that the walk knows nothing of

[[noreturn]] void fail_bad_json(const char* what, const std::string& where) {
  fail("{}: bad JSON: {}", where, shown(what, 200));
}

bool is_part_of_number(char c) { return std::string_view("0123456789+-.eE").find(c) != std::string_view::npos; }

[[noreturn]] void fail_long_token(bool in_string, std::size_t begin, const std::string& where) {
  if (in_string) fail("{}: JSON has a string of more than {} bytes at {}", where, max_string_bytes, begin);
  fail("{}: JSON has more than {} bytes without a string or another number at {}", where, max_other_bytes, begin);
}

// Refuses what the lexer must not see: NUL, which it takes for the end of the text whatever follows, and long tokens.
void check_tokens(std::string_view text, const std::string& where) {
  if (text.find('\0') != std::string_view::npos) fail("{}: JSON has a NUL byte", where);
  bool in_string = false;
  std::size_t begin = 0;  // of what the lexer keeps
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (i - begin > (in_string ? max_string_bytes : max_other_bytes)) fail_long_token(in_string, begin, where);
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
      begin = i + 1;
    } else if (!in_string && (c == '-' || (c >= '0' && c <= '9')) && i > 0 && !is_part_of_number(text[i - 1])) {
      begin = i;
    }
  }
}

// Bounds depth, and has the keys of the objects that are open.
class OpenValues {
 public:
  OpenValues(const std::string& where, std::size_t max_keys) : where_(where), max_keys_(max_keys) {}

  void start(int depth, bool is_object) {
    if (depth >= max_depth) fail("{}: JSON is nested deeper than {}", where_, max_depth);
    if (is_object) keys_of_objects_.emplace_back();
  }
  void key(const std::string& key) {
    std::set<std::string>& keys = keys_of_objects_.back();
    if (!keys.insert(key).second) fail_duplicate_key(key, where_);
    if (keys.size() > max_keys_) fail("{}: JSON has more than {} keys in one object", where_, max_keys_);
  }
  void end_object() { keys_of_objects_.pop_back(); }

 private:
  const std::string& where_;
  std::size_t max_keys_;
  std::vector<std::set<std::string>> keys_of_objects_;
};

// What a text may take in memory when it is kept.
class Budget {
 public:
  Budget(const std::string& where, std::size_t text_bytes) : where_(where), left_(own_budget + 2 * text_bytes) {}

  void charge(std::size_t bytes) {
    if (bytes > left_) fail("{}: JSON has too many values for its size", where_);
    left_ -= bytes;
  }

 private:
  const std::string& where_;
  std::size_t left_;
};

std::size_t text_bytes_of(const json& value) {
  return value.is_string() ? value.get_ref<const std::string&>().size() : 0;
}

// nlohmann's events as a JsonWalk sees them.
class Events final : public nlohmann::json_sax<json> {
 public:
  Events(const std::string& where, JsonWalk& walk) : where_(where), walk_(walk), open_(where, max_walked_keys) {}

  bool null() override { return scalar({}); }
  bool boolean(bool) override { return scalar({}); }
  bool number_integer(std::int64_t) override { return scalar({}); }
  bool number_unsigned(std::uint64_t number) override { return scalar({JsonKind::unsigned_number, number, nullptr}); }
  bool number_float(double, const std::string&) override { return scalar({}); }
  bool string(std::string& text) override { return scalar({JsonKind::string, 0, &text}); }
  bool binary(json::binary_t&) override { return scalar({}); }

  bool start_object(std::size_t) override { return start(JsonKind::object); }
  bool start_array(std::size_t) override { return start(JsonKind::array); }
  bool key(std::string& key) override {
    if (!walk_.has_own_keys(depth_)) open_.key(key);
    walk_.key(depth_, key);
    return true;
  }
  bool end_object() override {
    open_.end_object();
    return end_array();
  }
  bool end_array() override {
    walk_.end(--depth_);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const json::exception& error) override {
    fail_bad_json(error.what(), where_);
  }

 private:
  bool scalar(const JsonValue& value) {
    walk_.value(depth_, value);
    return true;
  }
  bool start(JsonKind kind) {
    open_.start(depth_, kind == JsonKind::object);
    walk_.value(depth_, {kind, 0, nullptr});
    ++depth_;
    return true;
  }

  const std::string& where_;
  JsonWalk& walk_;
  OpenValues open_;
  int depth_ = 0;
};

}  // namespace

void fail_duplicate_key(std::string_view key, const std::string& where) {
  fail("{}: JSON has the key {} twice in one object", where, shown(key));
}

json parse_strict_json(std::string_view text, const std::string& where) {
  check_tokens(text, where);
  OpenValues open(where, text.size());
  Budget budget(where, text.size());
  const auto callback = [&](int depth, json::parse_event_t event, const json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        open.start(depth, event == json::parse_event_t::object_start);
        budget.charge(value_cost);
        break;
      case json::parse_event_t::key:
        open.key(parsed.get_ref<const std::string&>());
        budget.charge(key_cost + 2 * text_bytes_of(parsed));
        break;
      case json::parse_event_t::value: budget.charge(value_cost + text_bytes_of(parsed)); break;
      case json::parse_event_t::object_end: open.end_object(); break;
      case json::parse_event_t::array_end: break;
    }
    return true;
  };
  try {
    return json::parse(text, callback);
  } catch (const json::exception& error) {
    fail_bad_json(error.what(), where);
  }
}

void walk_strict_json(std::string_view text, const std::string& where, JsonWalk& walk) {
  check_tokens(text, where);
  Events events(where, walk);
  json::sax_parse(text, &events);
}

}  // namespace zenwoq::formats

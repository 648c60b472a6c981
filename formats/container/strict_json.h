// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// JSON from a file that is not trusted: no duplicate keys, bounded depth and memory, errors as one-line ReadErrors.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace zenwoq::formats {

// The whole text as a value, for texts of some kilobytes: one that would take more than 8 MiB and twice its bytes is
// refused. The message of a ReadError begins with `where`.
nlohmann::json parse_strict_json(std::string_view text, const std::string& where);

enum class JsonKind { unsigned_number, string, object, array, other };

struct JsonValue {
  JsonKind kind = JsonKind::other;
  std::uint64_t number = 0;     // of an unsigned number
  std::string* text = nullptr;  // of a string; may be moved away
};

// Sees a text of JSON in its order, of which nothing is kept. `depth`: in how many objects and arrays it lies.
class JsonWalk {
 public:
  virtual ~JsonWalk() = default;

  virtual void key(int depth, std::string& key) = 0;  // may be moved away
  // Objects and arrays when they begin.
  virtual void value(int depth, const JsonValue& value) = 0;
  // The object or array that lies in so many others is over.
  virtual void end(int depth) = 0;

  // Whether the walk itself refuses duplicate keys of the innermost object; others may have 4096 keys.
  virtual bool has_own_keys(int depth) const = 0;
};

// Throws that `key` is twice in an object.
[[noreturn]] void fail_duplicate_key(std::string_view key, const std::string& where);

// Takes memory for the longest string of the text and little else. The message of a ReadError begins with `where`.
void walk_strict_json(std::string_view text, const std::string& where, JsonWalk& walk);

}  // namespace zenwoq::formats

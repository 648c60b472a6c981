// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What every C function does at its border: keeps the error text, stops exceptions, reads sized structs. And the
// handles.
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <new>

#include "jit/status.h"
#include "src/run/context.h"
#include "src/run/linear.h"
#include "src/weight/weight.h"

struct zenwoq_context {
  std::shared_ptr<zenwoq::Context> context;
};
struct zenwoq_weight {
  std::shared_ptr<const zenwoq::Weight> weight;
  const std::string text = zenwoq::weight_text(weight->header());
};
struct zenwoq_linear {
  std::shared_ptr<zenwoq::Linear> linear;
};

namespace zenwoq {

// Stores the text for zenwoq_last_error() of this thread; a text that is too long is cut. Never fails.
zenwoq_status report(zenwoq_status code, const char* text) noexcept;

// Runs body() -> Status and reports what came of it, exceptions included.
template <typename Body>
zenwoq_status at_boundary(Body&& body) noexcept {
  try {
    const Status status = body();
    return report(status.code(), status.text().c_str());
  } catch (const std::bad_alloc&) {
    return report(ZENWOQ_ERROR_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return report(ZENWOQ_ERROR_INTERNAL, error.what());
  } catch (...) {
    return report(ZENWOQ_ERROR_INTERNAL, "unknown exception");
  }
}

inline Status check_pointer(const char* name, const void* pointer) {
  return pointer == nullptr ? invalid("{} is NULL", name) : Status();
}

// struct_size says how much of the struct the caller knows. A caller newer than this library may have a longer struct,
// whose unknown tail must be zero.
template <typename Struct>
Status read_struct(const char* name, const Struct* in, Struct* out) {
  if (in == nullptr) return invalid("{} is NULL", name);
  std::size_t size;
  std::memcpy(&size, in, sizeof size);
  if (size < sizeof(Struct) || size > 4096) {
    return invalid("{}->struct_size is {}, must be {}: call {}_init first", name, size, sizeof(Struct), name);
  }
  const auto* tail = reinterpret_cast<const unsigned char*>(in);
  if (std::any_of(tail + sizeof(Struct), tail + size, [](unsigned char byte) { return byte != 0; })) {
    return invalid("{} has fields set that this version ({}) does not know", name, zenwoq_version());
  }
  std::memcpy(out, in, sizeof(Struct));
  return {};
}

// The same for a struct that is filled: checks struct_size and leaves it in place.
template <typename Struct>
Status write_struct(const char* name, Struct value, Struct* out) {
  if (out == nullptr) return invalid("{} is NULL", name);
  if (out->struct_size != sizeof(Struct)) {
    return invalid("{}->struct_size is {}, must be sizeof = {}", name, out->struct_size, sizeof(Struct));
  }
  value.struct_size = sizeof(Struct);
  std::memcpy(out, &value, sizeof value);
  return {};
}

template <std::size_t Capacity>
void copy_text(char (&to)[Capacity], const std::string& text) {
  const std::size_t count = std::min(text.size(), Capacity - 1);
  std::memcpy(to, text.data(), count);
  to[count] = '\0';
}

// A context whose generated code may go elsewhere: the entry of zenwoq_context_create, and of tests with an emulator.
Status create_context(const zenwoq_context_options* options, const ContextSeams& seams, zenwoq_context** context);

}  // namespace zenwoq

// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What every C function does at the boundary: keeps the error text, stops exceptions, reads and fills sized structs.
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include "jit/status.h"
#include "src/api/handles.h"

namespace zenwoq {

// Stores the text for zenwoq_last_error() of this thread; a text that is too long is cut. Errors also go to stderr
// where that was asked for, unless the program has a log function in the context (may be NULL). Never fails.
zenwoq_status report(zenwoq_status code, const char* text, const Context* context) noexcept;

// Runs body() -> Status and reports what came of it, exceptions included. context: the call's, NULL if it has none.
template <typename Body>
zenwoq_status at_boundary(const Context* context, Body&& body) noexcept {
  try {
    const Status status = body();
    return report(status.code(), status.text().c_str(), context);
  } catch (const std::bad_alloc&) {
    return report(ZENWOQ_ERROR_OUT_OF_MEMORY, "out of memory", context);
  } catch (const std::exception& error) {
    return report(ZENWOQ_ERROR_INTERNAL, error.what(), context);
  } catch (...) {
    return report(ZENWOQ_ERROR_INTERNAL, "unknown exception", context);
  }
}
template <typename Body>
zenwoq_status at_boundary(Body&& body) noexcept {
  return at_boundary(nullptr, std::forward<Body>(body));
}

// Of a context, a linear or experts; NULL for NULL.
template <typename Handle>
const Context* context_of(const Handle* handle) {
  return handle == nullptr ? nullptr : handle->context.get();
}

inline Status check_pointer(const char* name, const void* pointer) {
  return pointer == nullptr ? invalid("{} is NULL", name) : Status();
}

// How each struct that callers pass in began: the size that its first version had, and what its *_init writes, so that
// the fields an older caller does not know have their defaults. Fields are only ever added at the end.
template <typename Struct>
struct PublicStruct;
#define ZENWOQ_PUBLIC_STRUCT(name, first_size)            \
  template <>                                             \
  struct PublicStruct<name> {                             \
    static constexpr const char* kName = #name;           \
    static constexpr std::size_t kFirstSize = first_size; \
    static void init(name* value) { name##_init(value); } \
    static_assert(kFirstSize <= sizeof(name));            \
  }
ZENWOQ_PUBLIC_STRUCT(zenwoq_context_options, 64);
ZENWOQ_PUBLIC_STRUCT(zenwoq_weight_desc, 104);
ZENWOQ_PUBLIC_STRUCT(zenwoq_weight_source, 72);
ZENWOQ_PUBLIC_STRUCT(zenwoq_weight_extras, 72);
ZENWOQ_PUBLIC_STRUCT(zenwoq_linear_desc, 32);
ZENWOQ_PUBLIC_STRUCT(zenwoq_run_args, 88);  // up to workspace_bytes
ZENWOQ_PUBLIC_STRUCT(zenwoq_packed, 40);
ZENWOQ_PUBLIC_STRUCT(zenwoq_experts_desc, 120);
ZENWOQ_PUBLIC_STRUCT(zenwoq_experts_args, 152);
ZENWOQ_PUBLIC_STRUCT(zenwoq_packed_experts, 168);
ZENWOQ_PUBLIC_STRUCT(zenwoq_cpu_info, 576);
ZENWOQ_PUBLIC_STRUCT(zenwoq_registry_stats, 48);
ZENWOQ_PUBLIC_STRUCT(zenwoq_kernel_info, 360);
#undef ZENWOQ_PUBLIC_STRUCT

inline constexpr std::size_t kMaxStructSize = 4096;  // beyond any struct to come: such a size is no size

// What a caller says of the size of its struct. Errors: INVALID_ARGUMENT for NULL and for a size that no version had.
template <typename Struct>
Status read_struct_size(const Struct* caller, std::size_t* size) {
  using Known = PublicStruct<Struct>;
  if (caller == nullptr) return invalid("{} is NULL", Known::kName);
  std::memcpy(size, caller, sizeof *size);
  if (*size >= Known::kFirstSize && *size <= kMaxStructSize) return {};
  return invalid("{0}->struct_size is {1}, must be {2}: call {0}_init first", Known::kName, *size, sizeof(Struct));
}

// struct_size says how much of the struct the caller knows. Less than this library: the rest has its defaults. More:
// the unknown tail must be zero.
template <typename Struct>
Status read_struct(const Struct* in, Struct* out) {
  using Known = PublicStruct<Struct>;
  std::size_t size = 0;
  if (Status status = read_struct_size(in, &size); !status.ok()) return status;
  const auto* bytes = reinterpret_cast<const unsigned char*>(in);
  if (std::any_of(bytes + std::min(size, sizeof(Struct)), bytes + size, [](unsigned char byte) { return byte != 0; })) {
    return invalid("{} has fields set that this version ({}) does not know", Known::kName, zenwoq_version());
  }
  Known::init(out);
  std::memcpy(out, in, std::min(size, sizeof(Struct)));
  out->struct_size = sizeof(Struct);
  return {};
}

// The same for a struct that is filled: writes struct_size bytes, zeros where the caller knows more than this library.
template <typename Struct>
Status write_struct(Struct value, Struct* out) {
  std::size_t size = 0;
  if (Status status = read_struct_size(out, &size); !status.ok()) return status;
  value.struct_size = size;
  auto* bytes = reinterpret_cast<unsigned char*>(out);
  std::memcpy(bytes, &value, std::min(size, sizeof(Struct)));
  std::fill(bytes + std::min(size, sizeof(Struct)), bytes + size, static_cast<unsigned char>(0));
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

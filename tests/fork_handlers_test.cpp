// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A system without memory for handlers of forks: no context is made that a child could hang in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "zenwoq/zenwoq.h"

// In the place of libc's.
extern "C" int pthread_atfork(void (*)(), void (*)(), void (*)()) noexcept { return ENOMEM; }

TEST(ForkHandlers, WithoutThemThereIsNoContext) {
  zenwoq_context* context = nullptr;
  EXPECT_EQ(zenwoq_context_create(nullptr, &context), ZENWOQ_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(context, nullptr);
  EXPECT_THAT(zenwoq_last_error(), testing::HasSubstr("pthread_atfork"));
}

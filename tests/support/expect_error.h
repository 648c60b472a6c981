// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What a call of the C API that fails gives: its status, and a sentence with this text in it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "zenwoq/zenwoq.h"

#define EXPECT_ERROR(call, status, text)                          \
  do {                                                            \
    EXPECT_EQ(call, status) << zenwoq_last_error();               \
    EXPECT_THAT(zenwoq_last_error(), ::testing::HasSubstr(text)); \
  } while (false)

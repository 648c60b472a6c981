// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Drives a fuzz target without libFuzzer: replay CORPUS DICTIONARY RUNS. Every file of the corpus, then RUNS inputs
// made from them by small changes, the same ones each time. The one that ends the process is left in the file that
// ZENWOQ_FUZZ_INPUT names.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "tests/fuzz/fuzz.h"

namespace {

using Bytes = std::vector<std::uint8_t>;
using Random = std::mt19937_64;

std::vector<Bytes> read_corpus(const char* folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::vector<Bytes> corpus;
  for (const auto& file : files) {
    std::ifstream stream(file, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  return corpus;
}

// The words of a libFuzzer dictionary: NAME="text" a line, \xNN for bytes.
std::vector<Bytes> read_dictionary(const char* path) {
  std::vector<Bytes> words;
  std::ifstream stream(path);
  for (std::string line; std::getline(stream, line);) {
    const std::size_t begin = line.find('"'), end = line.rfind('"');
    if (line.empty() || line[0] == '#' || begin == end) continue;
    Bytes word;
    for (std::size_t i = begin + 1; i < end; ++i) {
      const bool byte = line[i] == '\\' && i + 3 < end + 1 && line[i + 1] == 'x';
      word.push_back(static_cast<std::uint8_t>(byte ? std::stoi(line.substr(i + 2, 2), nullptr, 16) : line[i]));
      if (byte) i += 3;
    }
    words.push_back(word);
  }
  return words;
}

void change(Random& random, const std::vector<Bytes>& corpus, const std::vector<Bytes>& words, Bytes* input) {
  const auto place = [&](std::size_t room) { return input->size() <= room ? 0 : random() % (input->size() - room); };
  switch (random() % 7) {
    case 0:
      if (!input->empty()) (*input)[place(0)] = static_cast<std::uint8_t>(random());
      return;
    case 1:
      if (!input->empty()) (*input)[place(0)] ^= static_cast<std::uint8_t>(1u << random() % 8);
      return;
    case 2: input->resize(place(0)); return;
    case 3: {  // a number at a border
      constexpr std::uint64_t kBorders[] = {
          0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, ~std::uint64_t{0}, std::uint64_t{1} << 63};
      const std::size_t bytes = std::size_t{1} << random() % 4;
      if (input->size() >= bytes)
        std::memcpy(input->data() + place(bytes), &kBorders[random() % std::size(kBorders)], bytes);
      return;
    }
    case 4:
      if (!words.empty()) {
        const Bytes& word = words[random() % words.size()];
        input->insert(input->begin() + static_cast<std::ptrdiff_t>(place(0)), word.begin(), word.end());
      }
      return;
    case 5: {  // the end of another file
      const Bytes& other = corpus[random() % corpus.size()];
      const std::size_t from = other.empty() ? 0 : random() % other.size();
      input->resize(place(0));
      input->insert(input->end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
      return;
    }
    default:
      if (!input->empty()) {
        const std::size_t at = place(0);
        input->erase(input->begin() + static_cast<std::ptrdiff_t>(at),
                     input->begin() + static_cast<std::ptrdiff_t>(std::min(input->size(), at + 1 + random() % 8)));
      }
  }
}

void run(const Bytes& input) {
  static const char* const kept = std::getenv("ZENWOQ_FUZZ_INPUT");
  if (kept != nullptr) {
    std::ofstream(kept, std::ios::binary)
        .write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
  }
  LLVMFuzzerTestOneInput(input.data(), input.size());
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) return std::fprintf(stderr, "usage: replay CORPUS DICTIONARY RUNS\n"), 2;
  const std::vector<Bytes> corpus = read_corpus(arguments[1]);
  const std::vector<Bytes> words = read_dictionary(arguments[2]);
  if (corpus.empty()) return std::fprintf(stderr, "%s: no inputs\n", arguments[1]), 1;
  for (const Bytes& input : corpus) run(input);
  Random random(1);
  const int runs = std::stoi(arguments[3]);
  for (int i = 0; i < runs; ++i) {
    Bytes input = corpus[random() % corpus.size()];
    for (std::uint64_t changes = 1 + random() % 4; changes > 0; --changes) change(random, corpus, words, &input);
    run(input);
  }
  std::printf("%zu inputs of the corpus, %d made from them, %zu words\n", corpus.size(), runs, words.size());
}

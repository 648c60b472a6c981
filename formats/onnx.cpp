// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The 4-bit weights of ONNX models: those of MatMulNBits, and initializers that go through DequantizeLinear, perhaps
// through Transpose, into MatMul or Gemm.
//
// A layer is called as the initializer of its codes without what quantizers and exporters add ("model.layers.0.q_proj"
// of "model.layers.0.q_proj.MatMul.weight_Q4"); where that is a number ("onnx::MatMul_17_Q4"), or what another layer
// could be called, too, as its node; and where neither will do, as the whole initializer, which no two layers share:
// codes are those of one weight. So all names of layers are different.
#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "formats/container/text.h"
#include "formats/formats.h"
#include "formats/onnx_graph.h"
#include "formats/parts.h"

namespace zenwoq::formats {
namespace {

constexpr std::size_t max_node_name = 1024;  // bytes; of a longer name the initializer's is taken

// A DequantizeLinear, or several with the same inputs.
struct Dequantized {
  ByteView node;
  std::optional<OnnxUse> use;  // empty if nothing multiplies with it
};

// A value that such a node gives.
struct Result {
  std::size_t dequantized = 0;
  bool transposed = false;
};

// The first node that takes an initializer as codes.
struct FirstUse {
  ByteView node;
  std::size_t dequantized = 0;  // for a DequantizeLinear
};

// What a layer can be called, the best first; empty for a number, and for a node without a name that can be shown.
struct Names {
  LayerSource* layer = nullptr;
  std::array<std::string_view, 3> candidates;
};

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// "X_Q4" of "X_Q4G32".
std::string_view without_block_size(std::string_view name) {
  const std::size_t g = name.rfind('G');
  if (g == std::string_view::npos || !is_number(name.substr(g + 1))) return name;
  return has_suffix(name.substr(0, g), "_Q4") ? name.substr(0, g) : name;
}

// Empty for a name that says nothing, as exporters of torch make them: "onnx::MatMul_17", "17".
std::string_view short_name(std::string_view initializer) {
  std::string_view name = without_block_size(initializer);
  for (const char* suffix : {"_Q4", "_DQ", "_quantized", ".qweight", ".weight", ".MatMulNBits", ".MatMul", ".Gemm"}) {
    name = without_suffix(name, suffix);
  }
  return name.starts_with("onnx::") || is_number(name) ? std::string_view() : name;
}

// Whether nodes with the same codes, an input before which activations may come, make the same weight of them.
bool is_same_weight(const OnnxNode& a, const OnnxNode& b, std::size_t codes_input) {
  if (a.op != b.op) return false;
  for (std::size_t i = codes_input; i < std::max(a.inputs.size(), b.inputs.size()); ++i) {
    if (a.input(i) != b.input(i)) return false;
  }
  constexpr std::pair<const char*, std::int64_t> attributes[] = {
      {"N", 0}, {"K", 0}, {"bits", 4}, {"block_size", 0}, {"axis", 1}, {"weight_prepacked", 0}};
  return std::all_of(std::begin(attributes), std::end(attributes), [&](const auto& attribute) {
    return a.integer(attribute.first, attribute.second) == b.integer(attribute.first, attribute.second);
  });
}

bool is_four_bits(const Tensor* tensor) {
  return tensor != nullptr && (tensor->dtype == "I4" || tensor->dtype == "U4");
}

class Finder {
 public:
  Finder(OnnxModel& model, const std::string& where, FoundLayers& found)
      : model_(model), graph_(model, where), found_(found) {}

  void find() {
    for (const ByteView message : model_.nodes) {
      const OnnxNode node = read_onnx_node(message, graph_.where());
      if (node.is("MatMulNBits", "com.microsoft")) add_matmulnbits(node, message);
      if (node.op == "DequantizeLinear") note_dequantize(node, message);
      if (node.is("Transpose", "")) note_transpose(node);
      if (node.is("MatMul", "")) note_matmul(node);
      if (node.is("Gemm", "")) note_gemm(node);
    }
    for (const Dequantized& dequantized : dequantized_) add_dequantized(dequantized);
    name_layers();
    for (const std::string_view name : taken_) model_.tensors.erase(std::string(name));
  }

 private:
  // Whether the node is the first with these codes. One that makes another weight of them than the first one did gets
  // none: a file could make any number of weights of a few bytes. *same: the first one, if it makes the same weight.
  bool is_first(std::string_view codes, std::size_t codes_input, const OnnxNode& node, ByteView message,
                const FirstUse** same) {
    const auto [first, is_new] = first_uses_.try_emplace(codes, FirstUse{message, dequantized_.size()});
    if (is_new) return true;
    if (is_same_weight(read_onnx_node(first->second.node, graph_.where()), node, codes_input)) {
      *same = &first->second;
    } else if (contradicted_.emplace(codes).second) {
      leave_alone(codes, "its codes are those of another weight too");
    }
    return false;
  }

  void add_matmulnbits(const OnnxNode& node, ByteView message) {
    const std::string_view b = node.input(1);
    if (graph_.find(b) == nullptr) {
      found_.left_alone.push_back({node.name.empty() ? "MatMulNBits" : shown(node.name), "its B is no initializer"});
      return;
    }
    const FirstUse* same = nullptr;
    if (!is_first(b, 1, node, message, &same)) return;
    add_weight(b, node, {2, 3, 4, 5}, read_onnx_matmulnbits(graph_, node, where_of(b)), node.name);
  }

  void note_dequantize(const OnnxNode& node, ByteView message) {
    const std::string_view x = node.input(0);
    if (!is_four_bits(graph_.find(x)) || node.outputs.empty()) return;
    std::size_t dequantized = dequantized_.size();
    const FirstUse* same = nullptr;
    if (is_first(x, 0, node, message, &same)) {
      dequantized_.push_back({message, {}});
    } else if (same != nullptr) {
      dequantized = same->dequantized;
    } else {
      return;
    }
    results_[node.outputs[0]] = {dequantized, false};
  }

  void note_transpose(const OnnxNode& node) {
    const auto result = results_.find(node.input(0));
    if (result == results_.end() || node.outputs.empty()) return;
    const OnnxAttribute* order = node.attribute("perm");
    const bool transposes = order == nullptr || order->integers == std::vector<std::int64_t>{1, 0};
    results_[node.outputs[0]] = {result->second.dequantized, result->second.transposed != transposes};
  }

  void note_matmul(const OnnxNode& node) {
    if (node.input(0) != node.input(1)) note_use(node.input(0), node, false, {}, "is multiplied from the left");
    note_use(node.input(1), node, false, {}, "");
  }

  void note_gemm(const OnnxNode& node) {
    const OnnxAttribute* alpha = node.attribute("alpha");
    const OnnxAttribute* beta = node.attribute("beta");
    const bool scaled =
        (alpha != nullptr && alpha->number != 1) || (!node.input(2).empty() && beta != nullptr && beta->number != 1);
    note_use(node.input(0), node, false, {}, "is multiplied from the left");
    note_use(node.input(1), node, node.integer("transB", 0) != 0, node.input(2),
             scaled ? "is multiplied by a Gemm with factors" : "");
  }

  // n_by_k: whether the value is [N, K] for this node.
  void note_use(std::string_view value, const OnnxNode& node, bool n_by_k, std::string_view bias,
                std::string_view reason) {
    const auto result = results_.find(value);
    if (result == results_.end()) return;
    OnnxUse use{n_by_k != result->second.transposed, node.name, bias, reason};
    std::optional<OnnxUse>& known = dequantized_[result->second.dequantized].use;
    if (known && !known->same_weight(use)) use.reason = "is used by several nodes in different ways";
    if (!known || !use.reason.empty()) known = use;
  }

  void add_dequantized(const Dequantized& dequantized) {
    const OnnxNode node = read_onnx_node(dequantized.node, graph_.where());
    const std::string_view x = node.input(0);
    if (!dequantized.use) {
      return add_weight(x, node, {1, 2}, {nullptr, "4-bit, but not the weight of a MatMul or Gemm"}, {});
    }
    const OnnxUse& use = *dequantized.use;
    OnnxWeight weight = read_onnx_dequantize(graph_, node, use, where_of(x));
    if (weight.layer && weight.layer->has_bias()) taken_.emplace(use.bias);
    add_weight(x, node, {1, 2}, std::move(weight), use.node);
  }

  std::string where_of(std::string_view weight) const { return formatted("{}: weight {}", graph_.where(), weight); }

  // more: the inputs beside the weight's codes that belong to it.
  void add_weight(std::string_view codes, const OnnxNode& node, std::initializer_list<std::size_t> more,
                  OnnxWeight weight, std::string_view user) {
    taken_.emplace(codes);
    for (const std::size_t input : more) {
      if (graph_.find(node.input(input)) != nullptr) taken_.emplace(node.input(input));
    }
    if (weight.layer) weight.reason = group_reason(group_of(weight.layer->desc), weight.layer->desc.k);
    if (!weight.reason.empty()) {
      leave_alone(codes, std::move(weight.reason));
      return;
    }
    const bool shows = user.size() <= max_node_name && shown(user, max_node_name) == user;
    names_.push_back({weight.layer.get(), {short_name(codes), shows ? user : std::string_view(), codes}});
    found_.layers.push_back(std::move(weight.layer));
  }

  void leave_alone(std::string_view codes, std::string reason) {
    found_.left_alone.push_back({std::string(codes), std::move(reason), stored(*graph_.find(codes))});
  }

  void name_layers() {
    std::map<std::string_view, const Names*> only;  // that could be called so; nullptr for several
    for (const Names& names : names_) {
      for (const std::string_view name : names.candidates) {
        const auto [known, is_new] = only.try_emplace(name, &names);
        if (!is_new && known->second != &names) known->second = nullptr;
      }
    }
    for (const Names& names : names_) {
      const auto chosen = std::find_if(names.candidates.begin(), names.candidates.end() - 1,
                                       [&](std::string_view name) { return !name.empty() && only[name] == &names; });
      names.layer->name = *chosen;
    }
  }

  OnnxModel& model_;
  OnnxGraph graph_;
  FoundLayers& found_;
  // Names lie in the file, which has them at every node.
  std::set<std::string_view> taken_;
  std::map<std::string_view, FirstUse> first_uses_;  // by codes
  std::set<std::string_view> contradicted_;          // codes of which nodes make different weights
  std::vector<Dequantized> dequantized_;
  std::map<std::string_view, Result> results_;
  std::vector<Names> names_;
};

}  // namespace

std::string OnnxGraph::input_reason(const OnnxNode& node, std::size_t input, const char* what) const {
  if (node.input(input).empty()) return {};
  const Tensor* tensor = find(node.input(input));
  if (tensor == nullptr) return formatted("its {} is no initializer", what);
  return has_values(*tensor) ? std::string() : formatted("its {} has values in a form that is not read", what);
}

std::string OnnxGraph::floats_reason(const OnnxNode& node, std::size_t input, const char* what) const {
  if (node.input(input).empty()) return formatted("it has no {}", what);
  std::string reason = input_reason(node, input, what);
  if (!reason.empty()) return reason;
  const std::string& dtype = find(node.input(input))->dtype;
  return float_type(dtype) ? "" : formatted("its {} is {}", what, lower_case(dtype));
}

std::shared_ptr<const OnnxOrder> OnnxGraph::order(std::string_view g_idx, std::uint64_t k, std::uint64_t group,
                                                  const std::string& where) {
  std::shared_ptr<const OnnxOrder>& known = orders_[std::string(g_idx)];
  if (known) return known->k == k && known->group == group ? known : nullptr;
  Tensor columns = *find(g_idx);
  if (columns.dtype == "I32" && columns.shape == std::vector<std::uint64_t>{blocks_for(k, group) * group}) {
    columns.shape = {k};  // what follows is for columns of padding
    columns.data = columns.data.sub(0, k * 4);
  }
  known = std::make_shared<OnnxOrder>(OnnxOrder{k, group, read_order(columns, k, group, "g_idx", where)});
  return known;
}

void find_onnx(Contents& contents, FoundLayers& found) {
  Finder(contents.onnx, contents.where, found).find();
  found.owned = std::move(contents.onnx.owned);
}

}  // namespace zenwoq::formats

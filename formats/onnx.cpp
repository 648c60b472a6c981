// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The 4-bit weights of ONNX models: those of MatMulNBits, and initializers that go through DequantizeLinear, perhaps
// through Transpose, into MatMul or Gemm.
//
// A layer is called as the initializer of its codes without what quantizers and exporters add ("model.layers.0.q_proj"
// of "model.layers.0.q_proj.MatMul.weight_Q4"); where that is a number ("onnx::MatMul_17_Q4"), or the name of two
// layers, as its node; and where neither will do, as the whole initializer.
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

// What a layer can be called.
struct Names {
  LayerSource* layer = nullptr;
  std::string short_name;  // empty for a number
  std::string node;        // empty if it has none that can be shown
  std::string initializer;
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
std::string short_name(std::string_view initializer) {
  std::string_view name = without_block_size(initializer);
  for (const char* suffix : {"_Q4", "_DQ", "_quantized", ".qweight", ".weight", ".MatMulNBits", ".MatMul", ".Gemm"}) {
    name = without_suffix(name, suffix);
  }
  return std::string(name.starts_with("onnx::") || is_number(name) ? std::string_view() : name);
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
      if (node.is("MatMulNBits", "com.microsoft")) add_matmulnbits(node);
      if (node.op == "DequantizeLinear") note_dequantize(node, message);
      if (node.is("Transpose", "")) note_transpose(node);
      if (node.is("MatMul", "")) note_matmul(node);
      if (node.is("Gemm", "")) note_gemm(node);
    }
    for (const Dequantized& dequantized : dequantized_) add_dequantized(dequantized);
    name_layers();
    for (const std::string& name : taken_) model_.tensors.erase(name);
  }

 private:
  // Inputs and attributes that make a weight: layers can share it.
  static std::string key_of(const OnnxNode& node, std::size_t first_input) {
    std::string key;
    for (std::size_t input = first_input; input < node.inputs.size(); ++input) key.append(node.input(input)) += '\0';
    for (const char* name : {"N", "K", "block_size", "axis"}) key += fmt::format("{} ", node.integer(name, -1));
    return key;
  }

  void add_matmulnbits(const OnnxNode& node) {
    const std::string_view b = node.input(1);
    if (graph_.find(b) == nullptr) {
      found_.left_alone.push_back({node.name.empty() ? "MatMulNBits" : shown(node.name), "its B is no initializer"});
      return;
    }
    if (!seen_.emplace(key_of(node, 1), dequantized_.size()).second) return;
    const bool is_first = codes_.emplace(b).second;
    add_weight(b, node, {2, 3, 4, 5},
               is_first ? read_onnx_matmulnbits(graph_, node, where_of(b))
                        : OnnxWeight{nullptr, "its B is that of another weight too"},
               node.name);
  }

  void note_dequantize(const OnnxNode& node, ByteView message) {
    if (!is_four_bits(graph_.find(node.input(0))) || node.outputs.empty()) return;
    const auto [seen, is_new] = seen_.emplace(key_of(node, 0), dequantized_.size());
    if (is_new) dequantized_.push_back({message, {}});
    results_[node.outputs[0]] = {seen->second, false};
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
  void note_use(std::string_view value, const OnnxNode& node, bool n_by_k, std::string_view bias, std::string reason) {
    const auto result = results_.find(value);
    if (result == results_.end()) return;
    OnnxUse use{n_by_k != result->second.transposed, std::string(node.name), bias, std::move(reason)};
    std::optional<OnnxUse>& known = dequantized_[result->second.dequantized].use;
    if (known && !known->same_weight(use)) use.reason = "is used by several nodes in different ways";
    if (!known || !use.reason.empty()) known = std::move(use);
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

  std::string where_of(std::string_view weight) const { return fmt::format("{}: weight {}", graph_.where(), weight); }

  // more: the inputs beside the weight's codes that belong to it.
  void add_weight(std::string_view codes, const OnnxNode& node, std::initializer_list<std::size_t> more,
                  OnnxWeight weight, std::string_view user) {
    taken_.emplace(codes);
    for (const std::size_t input : more) {
      if (graph_.find(node.input(input)) != nullptr) taken_.emplace(node.input(input));
    }
    if (weight.layer) weight.reason = group_reason(group_of(weight.layer->desc), weight.layer->desc.k);
    if (!weight.reason.empty()) {
      found_.left_alone.push_back({std::string(codes), std::move(weight.reason), stored(*graph_.find(codes))});
      return;
    }
    const bool shows = shown(user, max_node_name) == user;
    names_.push_back({weight.layer.get(), short_name(codes), std::string(shows ? user : ""), std::string(codes)});
    found_.layers.push_back(std::move(weight.layer));
  }

  void name_layers() {
    std::map<std::string_view, std::size_t> short_names, nodes;
    for (const Names& names : names_) {
      ++short_names[names.short_name];
      ++nodes[names.node];
    }
    for (const Names& names : names_) {
      if (!names.short_name.empty() && short_names[names.short_name] == 1) {
        names.layer->name = names.short_name;
      } else {
        names.layer->name = !names.node.empty() && nodes[names.node] == 1 ? names.node : names.initializer;
      }
    }
  }

  OnnxModel& model_;
  OnnxGraph graph_;
  FoundLayers& found_;
  std::set<std::string> taken_;
  std::set<std::string> codes_;              // of MatMulNBits
  std::map<std::string, std::size_t> seen_;  // keys of weights
  std::vector<Dequantized> dequantized_;
  std::map<std::string_view, Result> results_;
  std::vector<Names> names_;
};

}  // namespace

std::string OnnxGraph::input_reason(const OnnxNode& node, std::size_t input, const char* what) const {
  if (node.input(input).empty()) return {};
  const Tensor* tensor = find(node.input(input));
  if (tensor == nullptr) return fmt::format("its {} is no initializer", what);
  return has_values(*tensor) ? std::string() : fmt::format("its {} has values in a form that is not read", what);
}

std::string OnnxGraph::floats_reason(const OnnxNode& node, std::size_t input, const char* what) const {
  if (node.input(input).empty()) return fmt::format("it has no {}", what);
  std::string reason = input_reason(node, input, what);
  if (!reason.empty()) return reason;
  const std::string& dtype = find(node.input(input))->dtype;
  return float_type(dtype) ? "" : fmt::format("its {} is {}", what, lower_case(dtype));
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

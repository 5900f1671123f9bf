//! Every metadata key that the library reads, once: its type, unit, and what its absence means.
//!
//! Keys of a model family are prefixed with the value of [`GENERAL_ARCHITECTURE`] and a dot;
//! they stand here without, for [`Gguf::get_arch`](super::Gguf::get_arch). "Integer" means any
//! of the format's integer types, as long as the value is not negative.

// The file itself.

/// String. The model family, such as `llama`; required.
pub const GENERAL_ARCHITECTURE: &str = "general.architecture";
/// `u32`, bytes. What each tensor's data is aligned to; 32.
pub const GENERAL_ALIGNMENT: &str = "general.alignment";
/// String. `model`, or what the file holds instead, such as `adapter`; `model`.
pub const GENERAL_TYPE: &str = "general.type";
/// String. The model's name for people; none.
pub const GENERAL_NAME: &str = "general.name";
/// String. Name of the model that this one was made from; none.
pub const GENERAL_BASENAME: &str = "general.basename";
/// String. What the model was tuned for; none.
pub const GENERAL_FINETUNE: &str = "general.finetune";
/// String. Size class, such as `135M`; none.
pub const GENERAL_SIZE_LABEL: &str = "general.size_label";
/// String. Version of the model; none.
pub const GENERAL_VERSION: &str = "general.version";
/// String. Who made the model; none.
pub const GENERAL_AUTHOR: &str = "general.author";
/// String. Which organization made the model; none.
pub const GENERAL_ORGANIZATION: &str = "general.organization";
/// String. What the model is; none.
pub const GENERAL_DESCRIPTION: &str = "general.description";
/// String. Licence, as an SPDX expression; none.
pub const GENERAL_LICENSE: &str = "general.license";
/// Integer. The format of most tensors, numbered as in llama.cpp's `llama_ftype`; unknown.
pub const GENERAL_FILE_TYPE: &str = "general.file_type";
/// Integer. Version of the block layouts; 2 where blocks are used.
pub const GENERAL_QUANTIZATION_VERSION: &str = "general.quantization_version";

// Files of a split model.

/// Integer. This file's number among the parts, from zero; 0.
pub const SPLIT_NO: &str = "split.no";
/// Integer. Number of files that the model is split over; 1. More than 1 is refused.
pub const SPLIT_COUNT: &str = "split.count";
/// Integer. Number of tensors in all parts together; those of this file.
pub const SPLIT_TENSORS_COUNT: &str = "split.tensors.count";

// Sizes of a model family; each follows `{arch}.`.

/// Integer, layers. Required.
pub const BLOCK_COUNT: &str = "block_count";
/// Integer, tokens. The longest context that the model was trained with; required.
pub const CONTEXT_LENGTH: &str = "context_length";
/// Integer, elements. Width of the residual stream; required.
pub const EMBEDDING_LENGTH: &str = "embedding_length";
/// Integer, or an array of one per layer, elements. Width inside the feed-forward; required.
pub const FEED_FORWARD_LENGTH: &str = "feed_forward_length";
/// Integer, tokens. Size of the vocabulary; the length of [`TOKENIZER_TOKENS`].
pub const VOCAB_SIZE: &str = "vocab_size";
/// String. How the rows of Q and K were permuted; `Meta AI original pth` asks for another order
/// than that of current converters. Absent in current files.
pub const TENSOR_DATA_LAYOUT: &str = "tensor_data_layout";
/// Boolean. Whether attention and feed-forward both start from the same input; false.
pub const USE_PARALLEL_RESIDUAL: &str = "use_parallel_residual";
/// String. Activation of the feed-forward; the family's own.
pub const HIDDEN_ACTIVATION: &str = "hidden_activation";
/// Integer. How an embedding model pools its output; 0, none.
pub const POOLING_TYPE: &str = "pooling_type";

// Scales and caps of a model family; each follows `{arch}.`.

/// Float. What the embeddings are multiplied with; 0, which means the family's own rule.
pub const EMBEDDING_SCALE: &str = "embedding_scale";
/// Float. What each layer's contribution is multiplied with; 0, which means 1.
pub const RESIDUAL_SCALE: &str = "residual_scale";
/// Float. What the logits are divided or multiplied with, by family; 0, which means 1.
pub const LOGIT_SCALE: &str = "logit_scale";
/// Float. Bound `c` of attention scores `c * tanh(s / c)`; 0, none.
pub const ATTN_LOGIT_SOFTCAPPING: &str = "attn_logit_softcapping";
/// Float. Bound `c` of logits `c * tanh(x / c)`; 0, none.
pub const FINAL_LOGIT_SOFTCAPPING: &str = "final_logit_softcapping";

// Attention of a model family; each follows `{arch}.`.

/// Integer, or an array of one per layer. Query heads; required.
pub const ATTENTION_HEAD_COUNT: &str = "attention.head_count";
/// Integer, or an array of one per layer. Key and value heads; [`ATTENTION_HEAD_COUNT`].
pub const ATTENTION_HEAD_COUNT_KV: &str = "attention.head_count_kv";
/// Integer, elements. Width of a key head; embedding length / head count.
pub const ATTENTION_KEY_LENGTH: &str = "attention.key_length";
/// Integer, elements. Width of a value head; embedding length / head count.
pub const ATTENTION_VALUE_LENGTH: &str = "attention.value_length";
/// Integer, elements. Width of a key head in sliding-window layers; that of the others.
pub const ATTENTION_KEY_LENGTH_SWA: &str = "attention.key_length_swa";
/// Integer, elements. Width of a value head in sliding-window layers; that of the others.
pub const ATTENTION_VALUE_LENGTH_SWA: &str = "attention.value_length_swa";
/// Float. What RMS norms add to the mean square; required.
pub const ATTENTION_LAYER_NORM_RMS_EPSILON: &str = "attention.layer_norm_rms_epsilon";
/// Float. What layer norms add to the variance; required by families that have them.
pub const ATTENTION_LAYER_NORM_EPSILON: &str = "attention.layer_norm_epsilon";
/// Integer, tokens. How many positions, its own included, a token of a sliding-window layer
/// sees; 0, all.
pub const ATTENTION_SLIDING_WINDOW: &str = "attention.sliding_window";
/// Integer n, meaning that every n-th layer sees everything, or an array with a boolean per
/// layer, true where the window slides; the family's own.
pub const ATTENTION_SLIDING_WINDOW_PATTERN: &str = "attention.sliding_window_pattern";
/// Boolean. Whether tokens see only earlier ones; true.
pub const ATTENTION_CAUSAL: &str = "attention.causal";
/// Float. What dot products of queries and keys are multiplied with; 1 / sqrt(key length).
pub const ATTENTION_SCALE: &str = "attention.scale";
/// Float. Bound on the magnitude of Q, K and V; 0, none.
pub const ATTENTION_CLAMP_KQV: &str = "attention.clamp_kqv";
/// Float. Largest slope of a linear bias on positions; 0, none.
pub const ATTENTION_MAX_ALIBI_BIAS: &str = "attention.max_alibi_bias";
/// Float. Strength of a temperature that grows with position; 0, none.
pub const ATTENTION_TEMPERATURE_SCALE: &str = "attention.temperature_scale";
/// Integer, tokens. Span of that temperature's steps; the family's own.
pub const ATTENTION_TEMPERATURE_LENGTH: &str = "attention.temperature_length";
/// Integer, layers. How many of the last layers use an earlier one's keys and values; 0.
pub const ATTENTION_SHARED_KV_LAYERS: &str = "attention.shared_kv_layers";

// Rotary positions of a model family; each follows `{arch}.`.

/// Integer, elements. How many of a head's elements rotate; key length.
pub const ROPE_DIMENSION_COUNT: &str = "rope.dimension_count";
/// Integer, elements. The same in sliding-window layers; that of the others.
pub const ROPE_DIMENSION_COUNT_SWA: &str = "rope.dimension_count_swa";
/// Array of integers. Elements per axis of a multi-axis position; one axis.
pub const ROPE_DIMENSION_SECTIONS: &str = "rope.dimension_sections";
/// Float. Base of the frequencies' powers; 10000.
pub const ROPE_FREQ_BASE: &str = "rope.freq_base";
/// Float. The same in sliding-window layers; 10000 for `gemma3`.
pub const ROPE_FREQ_BASE_SWA: &str = "rope.freq_base_swa";
/// String: `none`, `linear`, `yarn` or `longrope`. How positions past the trained ones are
/// reached; `linear`.
pub const ROPE_SCALING_TYPE: &str = "rope.scaling.type";
/// Float. How many times the context was stretched; 0, which means [`ROPE_SCALE_LINEAR`].
pub const ROPE_SCALING_FACTOR: &str = "rope.scaling.factor";
/// Float. Older name of [`ROPE_SCALING_FACTOR`]; 0, which means 1.
pub const ROPE_SCALE_LINEAR: &str = "rope.scale_linear";
/// Float. What queries and keys are multiplied with after rotation; 1.
pub const ROPE_SCALING_ATTN_FACTOR: &str = "rope.scaling.attn_factor";
/// Integer, tokens. The context before it was stretched; [`CONTEXT_LENGTH`].
pub const ROPE_SCALING_ORIGINAL_CONTEXT_LENGTH: &str = "rope.scaling.original_context_length";
/// Boolean. Whether the model was trained further after stretching; false.
pub const ROPE_SCALING_FINETUNED: &str = "rope.scaling.finetuned";
/// Float. YaRN's weight of the magnitude's logarithm; 0.
pub const ROPE_SCALING_YARN_LOG_MULTIPLIER: &str = "rope.scaling.yarn_log_multiplier";
/// Float. YaRN's mix of interpolation and extrapolation; 1 with type `yarn`, else 0.
pub const ROPE_SCALING_YARN_EXT_FACTOR: &str = "rope.scaling.yarn_ext_factor";
/// Float. YaRN's factor on queries and keys; 1.
pub const ROPE_SCALING_YARN_ATTN_FACTOR: &str = "rope.scaling.yarn_attn_factor";
/// Float, rotations. YaRN's bound above which dimensions are not stretched; 32.
pub const ROPE_SCALING_YARN_BETA_FAST: &str = "rope.scaling.yarn_beta_fast";
/// Float, rotations. YaRN's bound below which dimensions are stretched in full; 1.
pub const ROPE_SCALING_YARN_BETA_SLOW: &str = "rope.scaling.yarn_beta_slow";

// Experts of a model family; each follows `{arch}.`.

/// Integer. Experts in a layer; 0, a dense feed-forward.
pub const EXPERT_COUNT: &str = "expert_count";
/// Integer. Experts that each token uses; 0.
pub const EXPERT_USED_COUNT: &str = "expert_used_count";
/// Integer. Experts that every token uses besides; 0.
pub const EXPERT_SHARED_COUNT: &str = "expert_shared_count";
/// Integer, elements. Width inside an expert; [`FEED_FORWARD_LENGTH`].
pub const EXPERT_FEED_FORWARD_LENGTH: &str = "expert_feed_forward_length";
/// Integer, elements. Width inside a shared expert; [`EXPERT_FEED_FORWARD_LENGTH`].
pub const EXPERT_SHARED_FEED_FORWARD_LENGTH: &str = "expert_shared_feed_forward_length";
/// Float. What the experts' weights are multiplied with; 1.
pub const EXPERT_WEIGHTS_SCALE: &str = "expert_weights_scale";
/// Boolean. Whether the used experts' weights are made to sum to 1; false.
pub const EXPERT_WEIGHTS_NORM: &str = "expert_weights_norm";
/// Integer: 1 softmax, 2 sigmoid. How scores become weights; the family's own.
pub const EXPERT_GATING_FUNC: &str = "expert_gating_func";
/// Integer, layers. How many layers at the start are dense in a model of experts; 0.
pub const LEADING_DENSE_BLOCK_COUNT: &str = "leading_dense_block_count";

// The tokenizer.

/// String: `gpt2` for byte-level BPE, `llama` for SentencePiece; required.
pub const TOKENIZER_MODEL: &str = "tokenizer.ggml.model";
/// String. How text is cut before BPE, such as `llama-bpe`; `default`.
pub const TOKENIZER_PRE: &str = "tokenizer.ggml.pre";
/// Array of strings, not necessarily UTF-8. The text of each token; required.
pub const TOKENIZER_TOKENS: &str = "tokenizer.ggml.tokens";
/// Array of `f32`, one per token. Rank of SentencePiece merges, higher first; 0 each.
pub const TOKENIZER_SCORES: &str = "tokenizer.ggml.scores";
/// Array of `i32`, one per token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused,
/// 6 byte; 1 each.
pub const TOKENIZER_TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
/// Array of strings: two pieces with a space between, best first; required by `gpt2`.
pub const TOKENIZER_MERGES: &str = "tokenizer.ggml.merges";
/// Integer, token. Begins a text; 1 for `llama`, 11 for `gpt2`.
pub const TOKENIZER_BOS_TOKEN_ID: &str = "tokenizer.ggml.bos_token_id";
/// Integer, token. Ends a text; 2 for `llama`, 11 for `gpt2`.
pub const TOKENIZER_EOS_TOKEN_ID: &str = "tokenizer.ggml.eos_token_id";
/// Integer, token. Ends a turn; found by its text.
pub const TOKENIZER_EOT_TOKEN_ID: &str = "tokenizer.ggml.eot_token_id";
/// Integer, token. Ends a message that asks for a tool; found by its text.
pub const TOKENIZER_EOM_TOKEN_ID: &str = "tokenizer.ggml.eom_token_id";
/// Integer, token. Stands for what has no token; 0 for `llama`, none for `gpt2`.
pub const TOKENIZER_UNKNOWN_TOKEN_ID: &str = "tokenizer.ggml.unknown_token_id";
/// Integer, token. Separates texts; none. Misspelt upstream, and so in files.
pub const TOKENIZER_SEPARATOR_TOKEN_ID: &str = "tokenizer.ggml.seperator_token_id";
/// Integer, token. Fills up a batch; none.
pub const TOKENIZER_PADDING_TOKEN_ID: &str = "tokenizer.ggml.padding_token_id";
/// Integer, token. Stands for what a masked model fills in; none.
pub const TOKENIZER_MASK_TOKEN_ID: &str = "tokenizer.ggml.mask_token_id";
/// Boolean. Whether a text gets a beginning token; true for `llama`, false for most of `gpt2`.
pub const TOKENIZER_ADD_BOS_TOKEN: &str = "tokenizer.ggml.add_bos_token";
/// Boolean. Whether a text gets an ending token; false.
pub const TOKENIZER_ADD_EOS_TOKEN: &str = "tokenizer.ggml.add_eos_token";
/// Boolean. Whether a text gets a separating token; false.
pub const TOKENIZER_ADD_SEP_TOKEN: &str = "tokenizer.ggml.add_sep_token";
/// Boolean. Whether SentencePiece puts a space before a text; true for `llama`.
pub const TOKENIZER_ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
/// Boolean. Whether runs of spaces become one; false.
pub const TOKENIZER_REMOVE_EXTRA_WHITESPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
/// Array of `u8`. SentencePiece's normalization table; none.
pub const TOKENIZER_PRECOMPILED_CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";
/// Integer, token. Comes before what precedes a gap to fill; found by its text.
pub const TOKENIZER_FIM_PRE_TOKEN_ID: &str = "tokenizer.ggml.fim_pre_token_id";
/// Integer, token. Comes before what follows a gap to fill; found by its text.
pub const TOKENIZER_FIM_SUF_TOKEN_ID: &str = "tokenizer.ggml.fim_suf_token_id";
/// Integer, token. Comes before the filling of a gap; found by its text.
pub const TOKENIZER_FIM_MID_TOKEN_ID: &str = "tokenizer.ggml.fim_mid_token_id";
/// Integer, token. Fills up a batch of gap-filling texts, and ends one; found by its text.
pub const TOKENIZER_FIM_PAD_TOKEN_ID: &str = "tokenizer.ggml.fim_pad_token_id";
/// Integer, token. Comes before a repository's name, and ends a text; found by its text.
pub const TOKENIZER_FIM_REP_TOKEN_ID: &str = "tokenizer.ggml.fim_rep_token_id";
/// Integer, token. Comes between files, and ends a text; found by its text.
pub const TOKENIZER_FIM_SEP_TOKEN_ID: &str = "tokenizer.ggml.fim_sep_token_id";
/// String, a Jinja template. How messages become a prompt; none.
pub const TOKENIZER_CHAT_TEMPLATE: &str = "tokenizer.chat_template";

// This project's own.

/// String, as [`Schema::parse`](crate::schema::Schema::parse) reads it. Which answers the model
/// gives; none.
pub const BANTAM_SCHEMA: &str = "bantam.schema";

//! Tokens that llama.cpp knows by their text, because few files say what they are for.

/// What a known text means; bits of [`Known::roles`].
pub(super) mod role {
    /// Single roles: the file may name the token itself, else the first text found has it.
    pub(in super::super) const EOT: u16 = 1;
    pub(in super::super) const EOM: u16 = 1 << 1;
    pub(in super::super) const FIM_PRE: u16 = 1 << 2;
    pub(in super::super) const FIM_SUF: u16 = 1 << 3;
    pub(in super::super) const FIM_MID: u16 = 1 << 4;
    pub(in super::super) const FIM_PAD: u16 = 1 << 5;
    pub(in super::super) const FIM_REP: u16 = 1 << 6;
    pub(in super::super) const FIM_SEP: u16 = 1 << 7;
    /// Ends a generation.
    pub(in super::super) const END: u16 = 1 << 8;
    /// Shown and found in text always, whatever its type.
    pub(in super::super) const SHOWN: u16 = 1 << 9;
}

use role::{END, EOM, EOT, FIM_MID, FIM_PAD, FIM_PRE, FIM_REP, FIM_SEP, FIM_SUF, SHOWN};

/// A text and its roles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) text: &'static str,
    pub(super) roles: u16,
}

const fn known(text: &'static str, roles: u16) -> Known {
    Known { text, roles }
}

/// Single roles in order of their bits; `Option<u32>` per role is kept in this order.
pub(super) const SINGLE_ROLES: usize = 8;

pub(super) static KNOWN: [Known; 61] = [
    known("<|eot_id|>", EOT | END),
    known("<|im_end|>", EOT | END),
    known("<|end|>", EOT | END),
    known("<end_of_turn>", EOT | END),
    known("<|endoftext|>", EOT | END),
    known("<|end_of_text|>", EOT | END),
    known("<EOT>", EOT | END),
    known("_<EOT>", EOT | END),
    known("[EOT]", EOT | END),
    known("<｜end▁of▁sentence｜>", EOT | END),
    known("<end_of_utterance>", EOT | END),
    known("<|eom_id|>", EOM | END),
    known("<|return|>", END),
    known("<|call|>", END),
    known("<|flush|>", END),
    known("<|calls|>", END),
    known("</s>", END),
    known("[EOS]", END),
    known("<eos>", END),
    known("<turn|>", END),
    known("<|tool_response>", END),
    known("[e~[", END),
    known("<|fim_prefix|>", FIM_PRE),
    known("<fim-prefix>", FIM_PRE),
    known("<fim_prefix>", FIM_PRE),
    known("<｜fim▁begin｜>", FIM_PRE),
    known("<PRE>", FIM_PRE),
    known("▁<PRE>", FIM_PRE),
    known("<|code_prefix|>", FIM_PRE),
    known("<|prefix|>", FIM_PRE),
    known("<|fim_suffix|>", FIM_SUF),
    known("<fim-suffix>", FIM_SUF),
    known("<fim_suffix>", FIM_SUF),
    known("<｜fim▁hole｜>", FIM_SUF),
    known("<SUF>", FIM_SUF),
    known("▁<SUF>", FIM_SUF),
    known("<|code_suffix|>", FIM_SUF),
    known("<|suffix|>", FIM_SUF),
    known("<|fim_middle|>", FIM_MID),
    known("<fim-middle>", FIM_MID),
    known("<fim_middle>", FIM_MID),
    known("<｜fim▁end｜>", FIM_MID),
    known("<MID>", FIM_MID),
    known("▁<MID>", FIM_MID),
    known("<|code_middle|>", FIM_MID),
    known("<|middle|>", FIM_MID),
    known("<|fim_pad|>", FIM_PAD),
    known("<fim-pad>", FIM_PAD),
    known("<fim_pad>", FIM_PAD),
    known("<PAD>", FIM_PAD),
    known("[PAD]", FIM_PAD),
    known("<|fim_repo|>", FIM_REP),
    known("<|repo_name|>", FIM_REP),
    known("<fim-repo>", FIM_REP),
    known("<REPO>", FIM_REP),
    known("<reponame>", FIM_REP),
    known("<|file_sep|>", FIM_SEP),
    known("<|channel|>", SHOWN),
    known("<|message|>", SHOWN),
    known("<|start|>", SHOWN),
    known("<|constrain|>", SHOWN),
];

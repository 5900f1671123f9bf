//! Tokens that llama.cpp knows by their text, because few files say what they are for.

/// What a known text means, as bits.
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

/// Single roles in order of their bits.
pub(super) const SINGLE_ROLES: usize = 8;

/// Texts, between spaces, and their roles, in the order in which they are looked for.
pub(super) static KNOWN: [(&str, u16); 10] = [
    (
        "<|eot_id|> <|im_end|> <|end|> <end_of_turn> <|endoftext|> <|end_of_text|> <EOT> \
         _<EOT> [EOT] <｜end▁of▁sentence｜> <end_of_utterance>",
        EOT | END,
    ),
    ("<|eom_id|>", EOM | END),
    (
        "<|return|> <|call|> <|flush|> <|calls|> </s> [EOS] <eos> <turn|> <|tool_response> \
         [e~[",
        END,
    ),
    (
        "<|fim_prefix|> <fim-prefix> <fim_prefix> <｜fim▁begin｜> <PRE> ▁<PRE> <|code_prefix|> \
         <|prefix|>",
        FIM_PRE,
    ),
    (
        "<|fim_suffix|> <fim-suffix> <fim_suffix> <｜fim▁hole｜> <SUF> ▁<SUF> <|code_suffix|> \
         <|suffix|>",
        FIM_SUF,
    ),
    (
        "<|fim_middle|> <fim-middle> <fim_middle> <｜fim▁end｜> <MID> ▁<MID> <|code_middle|> \
         <|middle|>",
        FIM_MID,
    ),
    ("<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD]", FIM_PAD),
    ("<|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame>", FIM_REP),
    ("<|file_sep|>", FIM_SEP),
    ("<|channel|> <|message|> <|start|> <|constrain|>", SHOWN),
];

/// The number of known texts.
pub(super) const N_KNOWN: usize = {
    let (mut n, mut row) = (0, 0);
    while row < KNOWN.len() {
        let texts = KNOWN[row].0.as_bytes();
        let mut at = 0;
        n += 1;
        while at < texts.len() {
            n += (texts[at] == b' ') as usize;
            at += 1;
        }
        row += 1;
    }
    n
};

/// The names of a list that has spaces between them.
pub(super) fn names(list: &str) -> impl Iterator<Item = &[u8]> {
    list.as_bytes().split(|&byte| byte == b' ')
}

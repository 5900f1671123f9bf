//! Texts, vocabularies and memory that are too long, too small or made to hurt.

mod tokens;

use std::time::{Duration, Instant};

use tokens::{Kept, Metadata, fixture, model, with_string};

use bantam_core::Token;
use bantam_core::gguf::Gguf;
use bantam_core::tokenizer::{Detokenizer, EncodeOptions, Tokenizer, TokenizerError};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";

const PARSE: EncodeOptions = EncodeOptions { add_special: true, parse_special: true };

/// Builds a tokenizer and hands it to `with`.
fn with_tokenizer<R>(
    file: &[u8],
    with: impl FnOnce(&Tokenizer<'_, '_>) -> R,
) -> Result<R, TokenizerError> {
    let gguf = Gguf::parse(file).unwrap();
    let plan = Tokenizer::plan(&gguf)?;
    let mut memory = vec![0xaa; plan.bytes];
    Tokenizer::new_in(&gguf, &mut memory).map(|tokenizer| with(&tokenizer))
}

fn refusal(metadata: &Metadata) -> TokenizerError {
    with_tokenizer(&metadata.file(), |_| ()).unwrap_err()
}

fn encode(tokenizer: &Tokenizer<'_, '_>, text: &str) -> Result<Vec<Token>, TokenizerError> {
    let mut scratch = vec![0xaa; tokenizer.encode_scratch(text.len())];
    let mut out = vec![0; tokenizer.max_tokens(text.len())];
    let n = tokenizer.encode(text, PARSE, &mut scratch, &mut out)?;
    out.truncate(n);
    Ok(out)
}

fn gpt2(tokens: &[&[u8]], merges: &[&[u8]]) -> Metadata {
    Metadata::default()
        .string(MODEL, "gpt2")
        .string(PRE, "gpt-2")
        .strings(TOKENS, tokens)
        .strings(MERGES, merges)
}

fn llama(tokens: &[&[u8]]) -> Metadata {
    Metadata::default().string(MODEL, "llama").strings(TOKENS, tokens)
}

#[test]
fn metadata_that_make_no_tokenizer_are_refused_by_name() {
    let two: &[&[u8]] = &[b"a", b"b"];
    let cases = [
        (Metadata::default(), "key tokenizer.ggml.model is missing"),
        (Metadata::default().u32(MODEL, 1), "tokenizer.ggml.model is not a string"),
        (Metadata::default().string(MODEL, "bert"), "model \"bert\" is not supported"),
        (
            Metadata::default().string(MODEL, "gpt2").string(PRE, "gpt-9"),
            "pre-tokenizer \"gpt-9\" is not supported",
        ),
        (Metadata::default().string(MODEL, "llama"), "tokenizer.ggml.tokens is missing"),
        (
            Metadata::default().string(MODEL, "llama").i32s(TOKENS, &[1]),
            "tokenizer.ggml.tokens is not an array of strings",
        ),
        (llama(&[]), "the vocabulary is empty"),
        (
            Metadata::default().string(MODEL, "gpt2").strings(TOKENS, two),
            "tokenizer.ggml.merges is missing",
        ),
        (llama(&[b"a", b"b", b"a"]), "tokens 0 and 2 have the same text"),
        (llama(two).f32s(SCORES, &[1.0]), "tokenizer.ggml.scores has 1 elements for 2 tokens"),
        (llama(two).f32s(SCORES, &[1.0, f32::NAN]), "score of token 1 is not a number"),
        (llama(two).f32s(TYPES, &[1.0, 1.0]), "token_type is not an array of 32-bit integers"),
        (llama(two).i32s(TYPES, &[3]), "token_type has 1 elements for 2 tokens"),
        (llama(&[b"a", &[b'x'; 5000]]).i32s(TYPES, &[1, 3]), "special token 1 has 5000 bytes"),
        (llama(two).string("tokenizer.ggml.bos_token_id", "x"), "is not a token number"),
        (llama(two).u32("tokenizer.ggml.add_bos_token", 1), "is not a boolean"),
    ];
    for (metadata, expected) in cases {
        let message = refusal(&metadata).to_string();
        assert!(message.contains(expected), "{message:?} should say {expected:?}");
    }
}

#[test]
fn numbers_out_of_range_are_left_out() {
    let file = gpt2(&[b"a", b"b"], &[])
        .u32("tokenizer.ggml.bos_token_id", 7)
        .u32("tokenizer.ggml.eos_token_id", u32::MAX)
        .bool("tokenizer.ggml.add_bos_token", true)
        .file();
    with_tokenizer(&file, |tokenizer| {
        assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.eot()), (None, None, None));
        assert_eq!(encode(tokenizer, "a"), Err(TokenizerError::MissingSpecial { which: "bos" }));
        assert_eq!(tokenizer.piece(2), b"");
        assert!(!tokenizer.is_special(u32::MAX) && !tokenizer.is_end(u32::MAX));
        Detokenizer::new(tokenizer).push(tokenizer, u32::MAX, true, |text| panic!("{text:?}"));
    })
    .unwrap();
}

#[test]
fn merges_that_name_no_tokens_still_rank() {
    // "b c" gives a text that is no token: its letters are found again one by one.
    let file = gpt2(
        &[b"a", b"b", b"c", b"ab", b"abc"],
        &[b"b c", b"a b", b"ab c", b"", b" ", b"a", b"a b c", b"b c"],
    )
    .file();
    with_tokenizer(&file, |tokenizer| {
        assert_eq!(encode(tokenizer, "abc"), Ok(vec![0, 1, 2]));
        assert_eq!(encode(tokenizer, "ab?ab"), Ok(vec![3, 3]));
    })
    .unwrap();
}

#[test]
fn bytes_without_tokens() {
    let tokens: [&[u8]; 4] = [b"a", "▁".as_bytes(), b"<0x62>", b"c"];
    with_tokenizer(&llama(&tokens).bool("tokenizer.ggml.add_bos_token", false).file(), |t| {
        assert_eq!(encode(t, "abc"), Ok(vec![1, 0, 2, 3]));
        assert_eq!(encode(t, "ad"), Err(TokenizerError::MissingByte { byte: b'd' }));
    })
    .unwrap();
    // A space is the three bytes of its mark, and there is room for them.
    let tokens: [&[u8]; 4] = [b"a", b"<0xE2>", b"<0x96>", b"<0x81>"];
    with_tokenizer(&llama(&tokens).bool("tokenizer.ggml.add_bos_token", false).file(), |t| {
        let spaces = " ".repeat(50);
        assert_eq!(encode(t, &spaces).unwrap(), [1, 2, 3].repeat(51));
    })
    .unwrap();
}

/// Merges reach over a cut between words exactly where a token does.
#[test]
fn stretches_of_text_are_cut_where_no_token_spans() {
    let tokens: [&[u8]; 7] = ["▁", "▁▁", "a", "b", "▁a", "b▁", "b▁a"].map(str::as_bytes);
    let scores = [-7.0, -2.0, -8.0, -9.0, -3.0, -2.5, -1.0];
    let file = llama(&tokens)
        .f32s(SCORES, &scores)
        .bool("tokenizer.ggml.add_bos_token", false)
        .bool("tokenizer.ggml.add_space_prefix", false)
        .file();
    with_tokenizer(&file, |tokenizer| {
        // A mark in text is a space, and spaces join whichever way each is written.
        for double in ["  ", "▁ ", " ▁", "▁▁"] {
            assert_eq!(encode(tokenizer, &format!("{double}a")), Ok(vec![1, 2]), "{double:?}");
            assert_eq!(encode(tokenizer, &format!("a{double}")), Ok(vec![2, 1]), "{double:?}");
        }
        assert_eq!(encode(tokenizer, "a a b ab a"), Ok(vec![2, 4, 0, 6, 6]));
    })
    .unwrap();
}

#[test]
fn the_longest_special_token_is_cut_out_first() {
    let tokens: [&[u8]; 9] =
        [b"a", b"b", b"c", b"d", b"e", b"abc", b"bcde", "\u{fffd}".as_bytes(), b"\xff\xfe"];
    let file = gpt2(&tokens, &[]).i32s(TYPES, &[1, 1, 1, 1, 1, 4, 3, 4, 3]).file();
    with_tokenizer(&file, |tokenizer| {
        assert_eq!(encode(tokenizer, "abcde abc"), Ok(vec![0, 6, 5]));
        let options = EncodeOptions { parse_special: false, ..PARSE };
        let mut scratch = vec![0; tokenizer.encode_scratch(64)];
        let mut out = [0; 64];
        let n = tokenizer.encode("abcdeabcabc", options, &mut scratch, &mut out).unwrap();
        assert_eq!(out[..n], [5, 3, 4, 5, 5]);
    })
    .unwrap();
}

#[test]
fn memory_and_scratch_of_any_size() {
    for (base, text) in
        [("bpe.gguf", "It's 12345  compilers\n\n"), ("spm.gguf", " a board, <tool>x")]
    {
        let file = std::fs::read(fixture(base)).unwrap();
        let gguf = Gguf::parse(&file).unwrap();
        let plan = Tokenizer::plan(&gguf).unwrap();
        // The plan is enough at any alignment, and needed.
        let mut memory = vec![0; plan.bytes + 64];
        for skip in 0..64 {
            let memory = &mut memory[skip..skip + plan.bytes];
            Tokenizer::new_in(&gguf, memory).unwrap();
        }
        let small = Tokenizer::new_in(&gguf, &mut memory[..plan.bytes - 1]);
        assert_eq!(
            small.unwrap_err(),
            TokenizerError::MemoryTooSmall { needed: plan.bytes, given: plan.bytes - 1 }
        );

        let mut kept = Kept::new(&gguf);
        let tokenizer = Tokenizer::new_in(&gguf, kept.memory()).unwrap();
        let expected = encode(&tokenizer, text).unwrap();
        let needed = tokenizer.encode_scratch(text.len());
        let mut enough = 0;
        let mut out = vec![0; tokenizer.max_tokens(text.len())];
        for given in 0..=needed {
            // With luck in its alignment, less can do; what comes out is right or refused.
            let mut scratch = vec![0; given];
            match tokenizer.encode(text, PARSE, &mut scratch, &mut out) {
                Ok(n) => {
                    assert_eq!(out[..n], expected);
                    enough += 1;
                }
                Err(error) => {
                    assert_eq!(error, TokenizerError::ScratchTooSmall { needed, given });
                }
            }
        }
        assert!(enough > 0);
        let mut scratch = vec![0; needed];
        for room in 0..expected.len() {
            let result = tokenizer.encode(text, PARSE, &mut scratch, &mut out[..room]);
            assert_eq!(result, Err(TokenizerError::OutputFull { needed_at_least: room + 1 }));
        }
    }
}

/// Time that this thread ran, where the system tells; a busy machine adds none to it.
fn ran(start: Instant) -> Duration {
    let file = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = file.split_whitespace().next().and_then(|field| field.parse().ok());
    nanoseconds.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// The best of a few runs.
fn best(mut run: impl FnMut()) -> Duration {
    let mut time = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let before = ran(start);
        run();
        time = time.min(ran(start).saturating_sub(before));
        if time < Duration::from_millis(500) {
            break;
        }
    }
    time
}

/// Sizes to compare: a sixteenth of the larger, which is a mebibyte, or 128 KiB where the CPU is
/// emulated.
fn sizes() -> [usize; 2] {
    let large = if std::env::var_os("BANTAM_QUICK").is_some() { 1 << 17 } else { 1 << 20 };
    [large / 16, large]
}

/// Texts without a single break: sixteen times as much may take 64 times as long, which leaves
/// room for logarithms and caches, but not for the 256 times of a quadratic algorithm.
fn grows_like_a_line(name: &str, file: &[u8], n_texts: usize) {
    let [small, large] = sizes();
    let repeated = |unit: &str| unit.repeat(large / unit.len());
    let mut state = 7u64;
    let mut random = |from: u32, n: u32| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        char::from_u32(from + (state >> 33) as u32 % n).unwrap()
    };
    let letters: String = (0..large).map(|_| random(u32::from('a'), 26)).collect();
    let ideographs: String = (0..large / 3).map(|_| random(0x4e00, 20000)).collect();
    let texts = [
        ("one letter", repeated("a")),
        ("blanks", repeated(" \n\t\r")),
        ("digits", repeated("1")),
        ("spaces", repeated(" ")),
        ("line ends", repeated("\n")),
        ("quotes", repeated("'")),
        ("angles", repeated("<")),
        ("almost special", repeated("<|im_en")),
        ("special", repeated("<|im_end|>")),
        ("marks", repeated("\u{301}")),
        ("letters", letters),
        ("ideographs", ideographs),
    ];
    with_tokenizer(file, |tokenizer| {
        let mut scratch = vec![0; tokenizer.encode_scratch(large)];
        let mut out = vec![0; tokenizer.max_tokens(large)];
        for (what, text) in texts.iter().take(n_texts) {
            let mut n = 0;
            let mut time_of = |text: &str| {
                best(|| n = tokenizer.encode(text, PARSE, &mut scratch, &mut out).unwrap())
            };
            let part = (0..=small).rev().find(|&n| text.is_char_boundary(n)).unwrap_or_default();
            let times = [part, text.len()].map(|n| time_of(&text[..n]));
            println!("{name}: {large} bytes of {what}: {n} tokens in {:?}", times[1]);
            // Some systems count a thread's time in ticks of several milliseconds.
            let limit = 64 * times[0].max(Duration::from_millis(10));
            assert!(times[1] <= limit, "{name}: {what}: a sixteenth and all take {times:?}");
        }
    })
    .unwrap();
}

#[test]
fn time_grows_with_length_alone() {
    let bpe = std::fs::read(fixture("bpe.gguf")).unwrap();
    grows_like_a_line("gpt-2", &with_string(&bpe, PRE, "gpt-2"), usize::MAX);
    for pre in ["smollm", "llama-bpe", "qwen2", "default"] {
        grows_like_a_line(pre, &with_string(&bpe, PRE, pre), 3);
    }
    grows_like_a_line("spm", &std::fs::read(fixture("spm.gguf")).unwrap(), usize::MAX);
}

#[test]
fn time_grows_with_length_alone_on_real_models() {
    for name in ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m.Q4_K_M.gguf"] {
        if let Some(file) = model(name) {
            grows_like_a_line(name, &file, usize::MAX);
            let gguf = Gguf::parse(&file).unwrap();
            let mut kept = Kept::new(&gguf);
            let time = best(|| {
                Tokenizer::new_in(&gguf, kept.memory()).unwrap();
            });
            println!("{name}: {:?}, built in {time:?}", Tokenizer::plan(&gguf).unwrap());
        }
    }
}

/// Files with a byte or two changed give an error or a tokenizer, and either way an end.
#[test]
fn damaged_vocabularies() {
    let texts = ["Hello, 123 <|im_start|> wörld\n", "▁a▁ \u{1f600}  abcde", "\u{301}'s"];
    let mut state = 99u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    let mut built = 0;
    for base in ["bpe.gguf", "spm.gguf"] {
        let whole = std::fs::read(fixture(base)).unwrap();
        for _ in 0..600 {
            let mut file = whole.clone();
            for _ in 0..1 + random() % 3 {
                let at = random() % file.len();
                file[at] = random() as u8;
            }
            let Ok(gguf) = Gguf::parse(&file) else { continue };
            let Ok(plan) = Tokenizer::plan(&gguf) else { continue };
            let mut memory = vec![0; plan.bytes];
            let Ok(tokenizer) = Tokenizer::new_in(&gguf, &mut memory) else { continue };
            built += 1;
            for text in texts {
                let Ok(tokens) = encode(&tokenizer, text) else { continue };
                let mut detokenizer = Detokenizer::new(&tokenizer);
                for token in tokens {
                    assert!((token as usize) < tokenizer.n_vocab());
                    detokenizer.push(&tokenizer, token, true, |_| ());
                }
            }
        }
    }
    assert!(built > 300, "only {built} of the damaged files were still read");
}

#[test]
fn text_comes_in_whole_characters() {
    let tokens: [&[u8]; 8] = [
        b"<s>",
        "▁a".as_bytes(),
        b"<0xF0>",
        b"<0x9F>",
        b"<0x98>",
        b"<0x80>",
        "é".as_bytes(),
        b"<0xC3>",
    ];
    let file = llama(&tokens).i32s(TYPES, &[3, 1, 6, 6, 6, 6, 1, 6]).file();
    with_tokenizer(&file, |tokenizer| {
        let text = |tokens: &[Token], special| {
            let mut detokenizer = Detokenizer::new(tokenizer);
            let mut pieces = Vec::new();
            for &token in tokens {
                detokenizer.push(tokenizer, token, special, |piece| pieces.push(piece.to_owned()));
            }
            detokenizer.finish(|piece| pieces.push(piece.to_owned()));
            pieces
        };
        // Four bytes, one character; the first space is the tokenizer's own.
        assert_eq!(text(&[1, 2, 3, 4, 5, 1], false), ["a", "😀", " a"]);
        // After a special token, hidden or not, the space is the text's.
        assert_eq!(text(&[0, 1], true), ["<s>", " a"]);
        assert_eq!(text(&[0, 1], false), [" a"]);
        // Broken off, by another character, and at the end.
        assert_eq!(text(&[2, 3, 6], false), ["\u{fffd}", "é"]);
        assert_eq!(text(&[5, 7, 7, 2, 3], false), ["\u{fffd}"; 4]);
    })
    .unwrap();
}

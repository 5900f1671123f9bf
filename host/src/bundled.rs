//! The model that is part of the program: sentences in, device commands out.

/// What it is called where a file's path would stand.
pub const NAME: &str = "bantam-intent (bundled)";

/// At the start of a cache line, as weights in a file lie.
#[repr(C, align(64))]
struct Aligned<B: ?Sized>(B);

static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../fixtures/intent/bantam-intent.Q8_0.gguf"
)));

/// Returns its GGUF file, which lies in the program's own pages.
pub const fn bytes() -> &'static [u8] {
    &MODEL.0
}

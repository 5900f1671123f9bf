//! Attention of a batch of tokens over the cache.

use super::Runner;
use crate::cache::{Half, KvCache};
use crate::kernels::AttentionShape;

/// Writes to `out` the attention results of the tokens whose queries `q` are given (tokens ×
/// heads × `head_dim`, both), the first standing at `first_pos`.
pub fn attention(
    run: Runner<'_>,
    shape: &AttentionShape,
    cache: &KvCache<'_>,
    layer: usize,
    first_pos: usize,
    q: &[f32],
    out: &mut [f32],
) {
    let head = |head| [Half::Keys, Half::Values].map(|half| cache.head(layer, half, head));
    run.kernels.attention(run.parallel, *shape, first_pos, q, &head, out);
}

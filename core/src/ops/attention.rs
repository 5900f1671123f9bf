//! Attention of a batch of tokens over the cache.

use super::Runner;
use crate::cache::{Half, KvCache};
use crate::kernels::Attend;
use crate::par::for_each_part;

/// Shapes and constants of one layer's attention.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads.
    pub n_head_kv: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Positions seen, the query's own included; `None` for all.
    pub window: Option<usize>,
    /// Factor of scores.
    pub scale: f32,
    /// Soft cap of scores.
    pub soft_cap: Option<f32>,
}

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
    let (n_head, head_dim) = (shape.n_head.max(1), shape.head_dim.max(1));
    let group = (n_head / shape.n_head_kv.max(1)).max(1);
    // Enough parts for the workers; a part is some heads of one token, or some whole tokens.
    let heads = out.len() / head_dim;
    let per_task = heads.div_ceil(run.parallel.workers() * 16).max(1);
    for_each_part(run.parallel, out, per_task * head_dim, &|_, task, part| {
        for (i, out) in part.chunks_exact_mut(head_dim).enumerate() {
            let index = task * per_task + i;
            let (token, head) = (index / n_head, index % n_head);
            let end = first_pos + token + 1;
            let first = shape.window.map_or(0, |window| end.saturating_sub(window));
            run.kernels.attend(&mut Attend {
                q: q.get(index * head_dim..(index + 1) * head_dim).unwrap_or(&[]),
                keys: cache.head(layer, Half::Keys, head / group),
                values: cache.head(layer, Half::Values, head / group),
                first,
                end,
                scale: shape.scale,
                soft_cap: shape.soft_cap,
                out,
            });
        }
    });
}

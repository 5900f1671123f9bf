//! The forward pass, cut into steps.

use super::{Buffers, Engine, HEAD_ROWS_PER_STEP, Observer, Phase, Progress};
use crate::cache::Half;
use crate::kernels::Product;
use crate::model::{Act, Slot};
use crate::ops::{
    AttentionShape, attention, embed, fill_angles, linear, norm_heads, norm_rows,
    norm_rows_in_place, rope_rows,
};
use crate::par::n_workers;
use crate::tensor::TensorView;

/// An intermediate tensor: `n_rows` tokens from position `first_pos` on, `n_cols` values each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// What it is; `core/docs/stages.md` lists the names.
    pub name: &'static str,
    /// The layer, for stages inside one.
    pub layer: Option<usize>,
    /// Position of the first row.
    pub first_pos: usize,
    /// Tokens.
    pub n_rows: usize,
    /// Values per token.
    pub n_cols: usize,
}

/// Tells an observer, if there is one, of a stage of some batch.
struct Probe<'p, 'o, 'f> {
    observer: &'p mut Option<&'o mut Observer<'f>>,
    layer: Option<usize>,
    first_pos: usize,
    n_rows: usize,
}

impl Probe<'_, '_, '_> {
    fn show(&mut self, name: &'static str, values: &[f32]) {
        if let Some(observer) = self.observer {
            let n_cols = values.len() / self.n_rows.max(1);
            let (layer, first_pos, n_rows) = (self.layer, self.first_pos, self.n_rows);
            observer(Stage { name, layer, first_pos, n_rows, n_cols }, values);
        }
    }
}

impl Engine<'_, '_> {
    /// Tokens of the current batch.
    fn batch(&self) -> usize {
        self.plan.options.n_batch.min(self.end - self.pos)
    }

    /// Does one step.
    pub(super) fn advance(&mut self, observer: &mut Option<&mut Observer<'_>>) -> Progress {
        let n_rows = self.batch();
        match self.phase {
            Phase::Idle => {
                // Nothing is pending: the last logits still stand.
                return Progress::Logits { first_pos: self.pos, rows: 0, last: true };
            }
            Phase::Embed => {
                self.embed_batch(n_rows);
                let mut probe = Probe { observer, layer: None, first_pos: self.pos, n_rows };
                probe.show("embd", head_of(self.buffers.x, n_rows * self.model.config().n_embd));
                self.phase = Phase::Layer(0);
            }
            Phase::Layer(layer) => {
                let last_layer = layer + 1 == self.model.config().n_layer;
                // Behind the last layer's cache entries only rows whose logits are wanted matter.
                let ends_prompt = self.pos + n_rows == self.end;
                let wanted = match (self.each || observer.is_some(), last_layer, ends_prompt) {
                    (true, ..) | (_, false, _) => n_rows,
                    (_, _, true) => 1,
                    (_, _, false) => 0,
                };
                self.layer(layer, n_rows, wanted, observer);
                self.phase = match (last_layer, wanted) {
                    (false, _) => Phase::Layer(layer + 1),
                    (true, 0) => {
                        self.pos += n_rows;
                        Phase::Embed
                    }
                    (true, _) if self.each => self.next_logits(0, n_rows),
                    (true, _) => Phase::HeadNorm { first: n_rows - 1, rows: 1 },
                };
            }
            Phase::HeadNorm { first, rows } => {
                self.head_norm(first, rows, observer);
                self.phase = Phase::Head { first, rows, vocab: 0 };
            }
            Phase::Head { first, rows, vocab } => {
                let vocab = self.head(rows, vocab);
                self.phase = Phase::Head { first, rows, vocab };
                if vocab >= self.model.config().n_vocab {
                    return self.finish_logits(first, rows, n_rows, observer);
                }
            }
        }
        Progress::Working
    }

    fn next_logits(&self, first: usize, n_rows: usize) -> Phase {
        Phase::HeadNorm { first, rows: self.plan.options.n_logits.min(n_rows - first) }
    }

    /// The logits of some tokens are complete: shows them and moves on.
    fn finish_logits(
        &mut self,
        first: usize,
        rows: usize,
        n_rows: usize,
        observer: &mut Option<&mut Observer<'_>>,
    ) -> Progress {
        let first_pos = self.pos + first;
        let n_vocab = self.model.config().n_vocab;
        let mut probe = Probe { observer, layer: None, first_pos, n_rows: rows };
        probe.show("logits", head_of(self.buffers.logits, rows * n_vocab));
        if first + rows < n_rows {
            self.phase = self.next_logits(first + rows, n_rows);
        } else {
            self.pos += n_rows;
            self.phase = if self.pos < self.end { Phase::Embed } else { Phase::Idle };
        }
        Progress::Logits { first_pos, rows, last: self.phase == Phase::Idle }
    }

    fn embed_batch(&mut self, n_rows: usize) {
        let (run, c) = (self.runner(), self.model.config());
        let tokens = self.tokens.get(self.pos..self.pos + n_rows).unwrap_or(&[]);
        let b = &mut self.buffers;
        let x = head_of_mut(b.x, n_rows * c.n_embd);
        embed(run, self.model.token_embd(), tokens, c.embd_scale, x);
        let [global, local] = self.freqs;
        let n = n_rows * global.len();
        fill_angles(global, self.pos, head_of_mut(b.cos, n), head_of_mut(b.sin, n));
        if !local.is_empty() {
            fill_angles(local, self.pos, head_of_mut(b.cos_local, n), head_of_mut(b.sin_local, n));
        }
    }

    /// One layer for a batch; behind the cache only its last `wanted` rows.
    fn layer(
        &mut self,
        layer: usize,
        n_rows: usize,
        wanted: usize,
        observer: &mut Option<&mut Observer<'_>>,
    ) {
        let run = self.runner();
        let c = self.model.config();
        let Some(weights) = self.layers.get(layer) else { return };
        let Buffers { cos, sin, cos_local, sin_local, x, y, wide, acts, .. } = &mut self.buffers;
        let mut probe = Probe { observer, layer: Some(layer), first_pos: self.pos, n_rows };
        // `Model::new` has found every tensor that the family requires. What only families have that
        // are not built in costs no code.
        let get = |slot: Slot| if slot.is_built_in() { weights.get(slot) } else { None };
        let norm_row = |slot: Slot, x: &[f32], t: usize, y: &mut [f32]| {
            if let (Some(w), Some(x)) = (get(slot), x.get(t * c.n_embd..(t + 1) * c.n_embd)) {
                run.kernels.rms_norm(x, w.bytes(), c.rms_eps, y);
            }
        };
        let bias = |slot: Slot, x: &mut [f32]| {
            if let Some(w) = get(slot) {
                run.rows(x, w.n_cols(), &|_, row| run.kernels.add_bias(row, w.bytes()));
            }
        };

        // With one token, matrices are waited for: workers may fetch what they will read first.
        let expect = |slots: &[Slot]| {
            if n_rows == 1 {
                let mut parts = [&[][..]; 3];
                for (part, &slot) in parts.iter_mut().zip(slots) {
                    *part = get(slot).map_or(&[][..], |w| w.bytes());
                }
                run.parallel.expect(&parts);
            }
        };

        expect(&[Slot::AttnQ, Slot::AttnK, Slot::AttnV]);
        let x = head_of_mut(x, n_rows * c.n_embd);
        let y = head_of_mut(y, n_rows * c.n_embd);

        let (q_dim, kv_dim) = (c.q_dim(), c.kv_dim());
        let (q, rest) = cut(wide, n_rows * q_dim);
        let (k, rest) = cut(rest, n_rows * kv_dim);
        let (v, rest) = cut(rest, n_rows * kv_dim);
        let attn = head_of_mut(rest, n_rows * q_dim);
        if let (Some(wq), Some(wk), Some(wv)) =
            (get(Slot::AttnQ), get(Slot::AttnK), get(Slot::AttnV))
        {
            let mut products = [Product::new(wq, q), Product::new(wk, k), Product::new(wv, v)];
            let norm = |t: usize, y: &mut [f32]| norm_row(Slot::AttnNorm, x, t, y);
            linear(run, acts, y, n_rows, &norm, &mut products);
        }
        expect(&[Slot::AttnOutput]);
        probe.show("attn_norm", y);
        bias(Slot::AttnQBias, q);
        bias(Slot::AttnKBias, k);
        bias(Slot::AttnVBias, v);
        probe.show("q", q);
        probe.show("k", k);
        probe.show("v", v);
        if let Some(w) = get(Slot::AttnQNorm) {
            norm_heads(run, q, q_dim, w, c.rms_eps);
        }
        if let Some(w) = get(Slot::AttnKNorm) {
            norm_heads(run, k, kv_dim, w, c.rms_eps);
        }
        let window = c.window_of(layer);
        let [global, local] = self.freqs;
        let (cos, sin) = match (window, local.is_empty()) {
            (Some(_), false) => (&**cos_local, &**sin_local),
            _ => (&**cos, &**sin),
        };
        let freqs = global.len();
        rope_rows(run, c.rope_pairs, q, [q_dim, c.head_dim, freqs], cos, sin);
        rope_rows(run, c.rope_pairs, k, [kv_dim, c.head_dim, freqs], cos, sin);
        probe.show("q_rope", q);
        probe.show("k_rope", k);

        self.cache.write(layer, Half::Keys, self.pos, k, run.kernels, run.parallel);
        self.cache.write(layer, Half::Values, self.pos, v, run.kernels, run.parallel);
        if wanted == 0 {
            return;
        }

        let first = n_rows - wanted;
        let x = x.get_mut(first * c.n_embd..).unwrap_or_default();
        let y = head_of_mut(y, wanted * c.n_embd);
        let q = q.get(first * q_dim..).unwrap_or_default();
        let attn = head_of_mut(attn, wanted * q_dim);
        let shape = AttentionShape {
            n_head: c.n_head,
            n_head_kv: c.n_head_kv,
            head_dim: c.head_dim,
            window,
            scale: c.attn_scale,
            soft_cap: c.attn_soft_cap,
        };
        attention(run, &shape, &self.cache, layer, self.pos + first, q, attn);
        probe.show("attn", attn);
        let post_norm = |slot: Slot, x: &mut [f32]| {
            if let Some(w) = get(slot) {
                norm_rows_in_place(run, x, w, c.rms_eps);
            }
        };
        let residual = |x: &mut [f32], y: &[f32]| {
            run.rows(x, c.n_embd, &|t, row| {
                run.kernels.add(row, y.get(t * c.n_embd..(t + 1) * c.n_embd).unwrap_or(&[]));
            });
        };
        if let Some(w) = get(Slot::AttnOutput) {
            linear(run, acts, attn, wanted, &|_, _| {}, &mut [Product::new(w, y)]);
        }
        expect(&[Slot::FfnGate, Slot::FfnUp]);
        post_norm(Slot::PostAttnNorm, y);
        probe.show("attn_out", y);
        residual(x, y);
        probe.show("ffn_inp", x);

        let (gate, rest) = cut(wide, wanted * c.n_ff);
        let up = head_of_mut(rest, wanted * c.n_ff);
        if let (Some(wg), Some(wu)) = (get(Slot::FfnGate), get(Slot::FfnUp)) {
            let mut products = [Product::new(wg, gate), Product::new(wu, up)];
            let norm = |t: usize, y: &mut [f32]| norm_row(Slot::FfnNorm, x, t, y);
            linear(run, acts, y, wanted, &norm, &mut products);
        }
        expect(&[Slot::FfnDown]);
        probe.show("ffn_norm", y);
        let activate = |t: usize, gate: &mut [f32]| {
            let up = up.get(t * c.n_ff..(t + 1) * c.n_ff).unwrap_or(&[]);
            match c.act {
                Act::Silu => run.kernels.silu_mul(gate, up),
                Act::Gelu => run.kernels.gelu_mul(gate, up),
            }
        };
        if let Some(w) = get(Slot::FfnDown) {
            linear(run, acts, gate, wanted, &activate, &mut [Product::new(w, y)]);
        }
        probe.show("ffn_act", gate);
        post_norm(Slot::PostFfnNorm, y);
        probe.show("ffn_out", y);
        residual(x, y);
        probe.show("out", x);
    }

    /// Norms the tokens whose logits come next.
    fn head_norm(&mut self, first: usize, rows: usize, observer: &mut Option<&mut Observer<'_>>) {
        let (run, c) = (self.runner(), self.model.config());
        if rows == 1 {
            let end = (HEAD_ROWS_PER_STEP * n_workers(run.parallel)).min(c.n_vocab);
            run.parallel.expect(&[self.model.output().rows(0..end).unwrap_or(&[])]);
        }
        let b = &mut self.buffers;
        let x = b.x.get(first * c.n_embd..(first + rows) * c.n_embd).unwrap_or(&[]);
        let y = head_of_mut(b.y, rows * c.n_embd);
        norm_rows(run, x, self.model.output_norm(), c.rms_eps, y);
        let first_pos = self.pos + first;
        Probe { observer, layer: None, first_pos, n_rows: rows }.show("result_norm", y);
    }

    /// Computes some rows of the output head from `vocab` on, for `rows` tokens, and returns where
    /// to go on.
    fn head(&mut self, rows: usize, vocab: usize) -> usize {
        let (run, c) = (self.runner(), self.model.config());
        let end = (vocab + HEAD_ROWS_PER_STEP * n_workers(run.parallel)).min(c.n_vocab);
        let output = self.model.output();
        let slice = output.rows(vocab..end);
        let slice = slice.and_then(|bytes| {
            TensorView::new(output.ty(), output.n_cols(), end - vocab, bytes).ok()
        });
        let b = &mut self.buffers;
        let y = head_of_mut(b.y, rows * c.n_embd);
        if let (Some(weights), Some(logits)) = (slice, b.logits.get_mut(vocab..)) {
            let product = Product::with_stride(weights, logits, c.n_vocab);
            linear(run, &mut b.acts, y, rows, &|_, _| {}, &mut [product]);
        }
        if let Some(cap) = c.final_soft_cap.filter(|_| cfg!(feature = "gemma3")) {
            for logits in b.logits.chunks_exact_mut(c.n_vocab.max(1)).take(rows) {
                run.kernels.soft_cap(logits.get_mut(vocab..end).unwrap_or_default(), cap);
            }
        }
        end
    }
}

/// The first `n` values, or as many as there are.
fn head_of(x: &[f32], n: usize) -> &[f32] {
    x.get(..n).unwrap_or(x)
}

fn head_of_mut(x: &mut [f32], n: usize) -> &mut [f32] {
    let n = n.min(x.len());
    x.split_at_mut(n).0
}

/// The first `n` values, or as many as there are, and the others.
fn cut(x: &mut [f32], n: usize) -> (&mut [f32], &mut [f32]) {
    let n = n.min(x.len());
    x.split_at_mut(n)
}

//! A model: its description and where its tensors lie. It owns nothing.
//!
//! [`Model::new`] reads every tensor's name, type, shape and place once, in one pass over the
//! file's table; whoever holds a `Model` need not look at them again.

mod config;
mod error;
mod family;
pub(crate) mod fingerprint;
mod plan;
mod weights;

pub use config::{Act, ModelConfig, RopeBase, Window};
pub use error::ModelError;
pub use family::{FAMILIES, Family};
pub use plan::{MAX_CTX, MemoryPlan, ModelShape, PlanOptions};
pub use weights::{LayerWeights, N_SLOTS, Slot};

use crate::gguf::{Gguf, Name, TensorInfo};
use crate::tensor::TensorView;
use family::{COMMON_SLOTS, Keys, MAX_LAYERS};
use weights::{Place, check_shape};

/// A model in a GGUF file, checked.
#[derive(Clone, Debug)]
pub struct Model<'m> {
    gguf: Gguf<'m>,
    config: ModelConfig,
    token_embd: TensorView<'m>,
    output_norm: TensorView<'m>,
    output: TensorView<'m>,
    rope_freqs: Option<TensorView<'m>>,
}

impl<'m> Model<'m> {
    /// The model in a parsed file.
    ///
    /// # Errors
    /// [`ModelError`] if the family is unknown, a key or a tensor is missing, of another type or
    /// shape, or is not understood.
    pub fn new(gguf: &Gguf<'m>) -> Result<Self, ModelError> {
        let keys = Keys::new(gguf)?;
        let mut config = keys.config()?;
        (keys.family().describe)(&keys, &mut config)?;

        let global = |name: &'static str| gguf.tensor(name);
        let token_embd = global("token_embd.weight");
        let token_embd = token_embd.ok_or(ModelError::MissingTensor("token_embd.weight", None))?;
        let [_, n_vocab, _, _] = token_embd.dims;
        config.n_vocab = usize::try_from(n_vocab).unwrap_or(usize::MAX);
        let shape = [config.n_embd, config.n_vocab];
        check_shape(&token_embd, shape, false)?;
        let norm = global("output_norm.weight");
        let norm = norm.ok_or(ModelError::MissingTensor("output_norm.weight", None))?;
        check_shape(&norm, [config.n_embd, 1], true)?;
        let output = global("output.weight");
        if let Some(output) = &output {
            check_shape(output, shape, false)?;
        }
        config.tied_head = output.is_none();
        let rope_freqs = global("rope_freqs.weight");
        if let Some(freqs) = &rope_freqs {
            check_shape(freqs, [config.rope_dim / 2, 1], true)?;
        }

        let model = Model {
            gguf: gguf.clone(),
            config,
            token_embd: token_embd.view,
            output_norm: norm.view,
            output: output.map_or(token_embd.view, |output| output.view),
            rope_freqs: rope_freqs.map(|freqs| freqs.view),
        };
        model.check_layers(keys.family())?;
        Ok(model)
    }

    /// The model's description.
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The file that the model lies in.
    pub const fn gguf(&self) -> &Gguf<'m> {
        &self.gguf
    }

    /// The exact memory for some options.
    ///
    /// # Errors
    /// As [`MemoryPlan::new`].
    pub fn plan(&self, options: &PlanOptions) -> Result<MemoryPlan, ModelError> {
        MemoryPlan::new(&self.config, options)
    }

    /// A number that tells this model from others: from everything before the tensor data, and
    /// samples of every tensor.
    pub fn fingerprint(&self) -> u64 {
        fingerprint::of(&self.gguf)
    }

    pub(crate) const fn token_embd(&self) -> TensorView<'m> {
        self.token_embd
    }

    pub(crate) const fn output_norm(&self) -> TensorView<'m> {
        self.output_norm
    }

    pub(crate) const fn output(&self) -> TensorView<'m> {
        self.output
    }

    pub(crate) const fn rope_freqs(&self) -> Option<TensorView<'m>> {
        self.rope_freqs
    }

    /// Puts every layer's tensors in their places; [`Model::new`] has checked that all are there.
    pub(crate) fn fill_layers(&self, layers: &mut [LayerWeights<'m>]) {
        for tensor in self.gguf.tensors() {
            if let Place::Layer(layer, slot) = Place::of(tensor.name)
                && let Some(layer) = layers.get_mut(layer)
            {
                layer.set(slot, tensor.view);
            }
        }
    }

    /// Every layer has each tensor of its family, in the right shape, and nothing else is in the
    /// file. Names are unique in a parsed file, and so are the places they mean.
    fn check_layers(&self, family: &Family) -> Result<(), ModelError> {
        let mut seen = [[0u64; MAX_LAYERS / 64]; N_SLOTS];
        for tensor in self.gguf.tensors() {
            match Place::of(tensor.name) {
                Place::Layer(layer, slot) if layer < self.config.n_layer => {
                    self.check_tensor(family, slot, &tensor)?;
                    let bits = seen.get_mut(slot as usize);
                    if let Some(word) = bits.and_then(|bits| bits.get_mut(layer / 64)) {
                        *word |= 1 << (layer % 64);
                    }
                }
                Place::Layer(..) | Place::Unknown => {
                    return Err(ModelError::UnexpectedTensor(Name::new(tensor.name)));
                }
                Place::TokenEmbd | Place::OutputNorm | Place::Output | Place::RopeFreqs => {}
            }
        }
        for &slot in COMMON_SLOTS.iter().chain(family.required) {
            let bits = seen.get(slot as usize).map_or(&[][..], |bits| &bits[..]);
            let word = |layer: usize| bits.get(layer / 64).copied().unwrap_or(0);
            let missing = |&layer: &usize| word(layer) >> (layer % 64) & 1 == 0;
            if let Some(layer) = (0..self.config.n_layer).find(missing) {
                return Err(ModelError::MissingTensor(slot.name(), Some(layer as u32)));
            }
        }
        Ok(())
    }

    fn check_tensor(
        &self,
        family: &Family,
        slot: Slot,
        tensor: &TensorInfo<'m>,
    ) -> Result<(), ModelError> {
        if !COMMON_SLOTS.contains(&slot) && !family.required.contains(&slot) {
            return Err(ModelError::UnexpectedTensor(Name::new(tensor.name)));
        }
        check_shape(tensor, slot.shape(&self.config), slot.is_vector())
    }
}

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

use crate::gguf::{Gguf, Name};
use crate::tensor::TensorView;
use family::Keys;
use weights::{
    GLOBALS, N_REQUIRED, OUTPUT, OUTPUT_NORM, Place, ROPE_FREQS, TOKEN_EMBD, check_shape,
};

/// A model in a GGUF file, checked.
#[derive(Clone, Debug)]
pub struct Model<'m> {
    gguf: Gguf<'m>,
    config: ModelConfig,
    globals: Globals<'m>,
}

/// The tensors outside of layers, by the numbers of their names.
type Globals<'m> = [Option<TensorView<'m>>; GLOBALS.len()];

impl<'m> Model<'m> {
    /// The model in a parsed file.
    ///
    /// # Errors
    /// [`ModelError`] if the family is unknown, a key or a tensor is missing, of another type or
    /// shape, or is not understood.
    pub fn new(gguf: &Gguf<'m>) -> Result<Self, ModelError> {
        let mut config = ModelConfig::DEFAULT;
        let family = Keys::read(gguf, &mut config)?;
        let mut globals = [None; GLOBALS.len()];
        check_tensors(gguf, family, &mut config, &mut globals)?;
        Ok(Model { gguf: gguf.clone(), config, globals })
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

    #[inline(never)]
    pub(crate) fn token_embd(&self) -> TensorView<'m> {
        self.globals[TOKEN_EMBD].unwrap_or(TensorView::EMPTY)
    }

    #[inline(never)]
    pub(crate) fn output_norm(&self) -> TensorView<'m> {
        self.globals[OUTPUT_NORM].unwrap_or(TensorView::EMPTY)
    }

    #[inline(never)]
    pub(crate) fn output(&self) -> TensorView<'m> {
        self.globals[OUTPUT].unwrap_or(self.token_embd())
    }

    pub(crate) const fn rope_freqs(&self) -> Option<TensorView<'m>> {
        self.globals[ROPE_FREQS]
    }

    /// Puts every layer's tensors in their places; [`Model::new`] has checked that all are there.
    pub(crate) fn fill_layers(&self, layers: &mut [LayerWeights<'m>]) {
        for tensor in self.gguf.tensors() {
            if let Some(Place::Layer(layer, slot)) = Place::of(tensor.name)
                && let Some(layer) = layers.get_mut(layer)
            {
                layer.set(slot, tensor.view);
            }
        }
    }
}

/// Finds the tensors outside of layers, and checks that every layer has each tensor of its family,
/// that all have the right shape, and that nothing else is in the file.
#[inline(never)]
fn check_tensors<'m>(
    gguf: &Gguf<'m>,
    family: &Family,
    config: &mut ModelConfig,
    globals: &mut Globals<'m>,
) -> Result<(), ModelError> {
    if let Some(token_embd) = gguf.tensor(GLOBALS[TOKEN_EMBD]) {
        config.n_vocab = token_embd.view.n_rows();
    }
    let mut n_of = [0; N_SLOTS];
    for tensor in gguf.tensors() {
        let (shape, is_vector) = match Place::of(tensor.name) {
            Some(Place::Global(global)) => {
                if let Some(place) = globals.get_mut(global) {
                    *place = Some(tensor.view);
                }
                match global {
                    OUTPUT_NORM => ([config.n_embd, 1], true),
                    ROPE_FREQS => ([config.rope_dim / 2, 1], true),
                    _ => ([config.n_embd, config.n_vocab], false),
                }
            }
            Some(Place::Layer(layer, slot)) if layer < config.n_layer && family.has(slot) => {
                if let Some(n) = n_of.get_mut(slot as usize) {
                    *n += 1;
                }
                (slot.shape(config), slot.is_vector())
            }
            _ => return Err(ModelError::UnexpectedTensor(Name::new(tensor.name))),
        };
        check_shape(&tensor, shape, is_vector)?;
    }
    config.tied_head = globals[OUTPUT].is_none();
    for (global, name) in globals.iter().zip(GLOBALS).take(N_REQUIRED) {
        if global.is_none() {
            return Err(ModelError::MissingTensor(name, None));
        }
    }
    // Names are unique in a parsed file, and so are the places they mean: as many tensors as layers
    // leave no layer without.
    for slot in family.slots() {
        if n_of.get(slot as usize) != Some(&config.n_layer) {
            let is_there = |&layer: &usize| {
                let place = Some(Place::Layer(layer, slot));
                gguf.tensors().any(|tensor| Place::of(tensor.name) == place)
            };
            let layer = (0..config.n_layer).find(|layer| !is_there(layer));
            return Err(ModelError::MissingTensor(slot.name(), layer.map(|layer| layer as u32)));
        }
    }
    Ok(())
}

//! Streaming a model's tensors from one file into another.
//!
//! A batch of rows at a time is read where the file is mapped, converted by all threads in pieces,
//! and written by one more thread while the next batch is worked on. Pages that were read are let
//! go, and those of the next batch asked for, so that neither the size of the model nor that of a
//! tensor shows in what memory it takes. No byte depends on who converted which piece.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use bantam_core::kernels::KernelSet;
use bantam_core::par::{Parallel, for_each_part};
use bantam_core::quant::{self, GgmlType, QuantError};

use super::plan::{Plan, Planned};
use crate::error::{Error, OneLine};
use crate::gguf_writer::GgufWriter;
use crate::imatrix::Importance;
use crate::interrupt;
use crate::model_file::ModelFile;
use crate::pool::Pool;

/// Bytes of a batch, before or after, whichever are more.
const BATCH_BYTES: usize = 8 << 20;
/// Elements that one thread converts at a time. A multiple of every format's block.
const PIECE: usize = 1 << 16;
/// The largest half float. Formats whose scales are half floats can hold anything up to it.
const F16_MAX: f32 = 65504.0;
const INFINITY: u32 = f32::INFINITY.to_bits();

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions<'i> {
    /// How much the columns of matrices matter.
    pub importance: Option<&'i Importance>,
    /// Weights may be NaN or infinite.
    pub allow_nan: bool,
    /// Threads that convert.
    pub threads: usize,
    /// Who quantizes.
    pub kernels: KernelSet,
}

/// Writes what is planned for `file` as the file that is to be `out`. `progress` is called with
/// the bytes of tensors that were taken in so far, now and then, and may stop everything.
///
/// # Errors
/// [`Error::Write`]; [`Error::Model`] if a weight is no number, or too large for its new format;
/// [`Error::Changed`]; whatever `progress` returns. There is then no new file.
pub fn write(
    file: &ModelFile,
    plan: &Plan<'_>,
    out: &Path,
    options: WriteOptions<'_>,
    progress: impl FnMut(u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let pool =
        Pool::new(options.threads).map_err(|error| Error::Threads(options.threads, error))?;
    let mut writer = GgufWriter::create(out, &plan.metadata, &plan.specs())?;
    let writer = thread::scope(|scope| {
        // One batch waits while one is written; their buffers come back.
        let (full, to_write) = mpsc::sync_channel::<Vec<u8>>(1);
        let (give_back, empty) = mpsc::channel();
        let writing = scope.spawn(move || {
            for bytes in to_write {
                writer.write(&bytes)?;
                let _ = give_back.send(bytes);
            }
            Ok(writer)
        });
        let mut converter = Converter { file, pool: &pool, options, full, empty, progress };
        let converted = converter.convert(plan);
        drop(converter);
        let written = match writing.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // If writing failed, it is the reason why converting stopped.
        written.and_then(|writer| converted.map(|()| writer))
    })?;
    file.check_unchanged()?;
    writer.finish()
}

struct Converter<'a, P> {
    file: &'a ModelFile,
    pool: &'a Pool,
    options: WriteOptions<'a>,
    full: mpsc::SyncSender<Vec<u8>>,
    empty: mpsc::Receiver<Vec<u8>>,
    progress: P,
}

impl<P: FnMut(u64) -> Result<(), Error>> Converter<'_, P> {
    /// Converts every tensor, or stops early because nobody takes what comes out.
    fn convert(&mut self, plan: &Plan<'_>) -> Result<(), Error> {
        // One for each worker: never waited for.
        let scratch: Vec<_> = (0..self.pool.workers()).map(|_| Mutex::default()).collect();
        let mut done = 0;
        for tensor in &plan.tensors {
            let job = Job::new(tensor, self.options);
            let (view, data) = (tensor.from.view, tensor.from.offset as usize);
            let n_elems = view.n_rows() * view.n_cols();
            let source = |elems: Range<usize>| {
                data + bytes_of(view.ty(), elems.start)..data + bytes_of(view.ty(), elems.end)
            };
            let n = job.elems_per_batch();
            for first in (0..n_elems).step_by(n) {
                let batch = first..n_elems.min(first + n);
                self.file.will_need(source(batch.end..n_elems.min(batch.end + n)));
                let from = self.file.bytes().get(source(batch.clone())).unwrap_or_default();
                let mut to = self.empty.try_recv().unwrap_or_default();
                to.resize(bytes_of(tensor.to.ty, batch.len()), 0);
                job.run(self.pool, &scratch, first, from, &mut to)
                    .map_err(|fault| self.file.model_error(fault))?;
                // Pieces are left out once somebody wants to stop.
                interrupt::check()?;
                self.file.let_go(source(batch));
                done += from.len() as u64;
                (self.progress)(done)?;
                if self.full.send(to).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Bytes of so many elements, which are whole blocks.
fn bytes_of(ty: GgmlType, n_elems: usize) -> usize {
    n_elems / ty.block_elems() * ty.block_bytes()
}

/// One tensor's conversion.
struct Job<'a> {
    tensor: &'a Planned<'a>,
    importance: Option<&'a [f32]>,
    /// Elements that one task converts: whole rows, unless rows are longer than they need to be
    /// together.
    piece: usize,
    options: WriteOptions<'a>,
}

impl<'a> Job<'a> {
    fn new(tensor: &'a Planned<'a>, options: WriteOptions<'a>) -> Self {
        let [n_cols, _, n_experts, _] = tensor.from.dims;
        let importance = options.importance.and_then(|all| all.of(tensor.from.name));
        let importance =
            importance.filter(|columns| columns.len() as u64 == n_cols.saturating_mul(n_experts));
        let n_cols = (n_cols as usize).max(1);
        let piece = if importance.is_some() || n_cols <= PIECE {
            (PIECE / n_cols).max(1) * n_cols
        } else {
            PIECE
        };
        Self { tensor, importance, piece, options }
    }

    fn elems_per_batch(&self) -> usize {
        let ty = |ty| bytes_of(ty, self.piece);
        let most = ty(self.tensor.from.ty).max(ty(self.tensor.to.ty));
        (BATCH_BYTES / most.max(1)).max(1) * self.piece
    }

    /// Converts the elements from `first` on that lie in `from`.
    fn run(
        &self,
        parallel: &dyn Parallel,
        scratch: &[Mutex<Vec<f32>>],
        first: usize,
        from: &[u8],
        to: &mut [u8],
    ) -> Result<(), Fault> {
        let (piece_from, piece_to) =
            (bytes_of(self.tensor.from.ty, self.piece), bytes_of(self.tensor.to.ty, self.piece));
        // The first one in the file counts, not in time.
        let fault: Mutex<Option<(usize, Fault)>> = Mutex::new(None);
        for_each_part(parallel, to, piece_to, &|worker, task, to| {
            if interrupt::pressed() {
                return;
            }
            let start = task * piece_from;
            let from = from.get(start..from.len().min(start + piece_from)).unwrap_or_default();
            let Some(scratch) = scratch.get(worker) else { return };
            let mut scratch = scratch.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(found) = self.convert(first + task * self.piece, from, to, &mut scratch) {
                let mut fault = fault.lock().unwrap_or_else(PoisonError::into_inner);
                if fault.as_ref().is_none_or(|(earlier, _)| task < *earlier) {
                    *fault = Some((task, found));
                }
            }
        });
        match fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, fault)) => Err(fault),
            None => Ok(()),
        }
    }

    /// Converts one piece, whose first element has the index `first` in the tensor.
    fn convert(
        &self,
        first: usize,
        from: &[u8],
        to: &mut [u8],
        scratch: &mut Vec<f32>,
    ) -> Result<(), Fault> {
        let (old, new) = (self.tensor.from.ty, self.tensor.to.ty);
        if old == new && self.options.allow_nan {
            to.copy_from_slice(from);
            return Ok(());
        }
        let fail = |fault| self.fault(fault);
        scratch.resize(from.len() / old.block_bytes() * old.block_elems(), 0.0);
        quant::dequantize_row(old, from, scratch).map_err(|error| fail(What::Block(error)))?;
        let greatest = scratch.iter().fold(0, |greatest, x| greatest.max(magnitude(*x)));
        if greatest >= INFINITY && !self.options.allow_nan {
            let at = scratch.iter().position(|x| !x.is_finite()).unwrap_or(0);
            let x = scratch.get(at).copied().unwrap_or(f32::NAN);
            return Err(fail(What::NotFinite(x, first + at)));
        }
        if old == new {
            to.copy_from_slice(from);
            return Ok(());
        }
        self.quantize(first, scratch, to).map_err(|error| fail(What::Block(error)))?;
        // Smaller weights fit into every format.
        if greatest > F16_MAX.to_bits() && !self.options.allow_nan {
            let result = quant::dequantize_row(new, to, scratch);
            result.map_err(|error| fail(What::Block(error)))?;
            if let Some(at) = scratch.iter().position(|x| !x.is_finite()) {
                return Err(fail(What::TooLarge(f32::from_bits(greatest), first + at)));
            }
        }
        Ok(())
    }

    fn quantize(&self, first: usize, x: &[f32], to: &mut [u8]) -> Result<(), QuantError> {
        let new = self.tensor.to.ty;
        let Some(importance) = self.importance else {
            return self.options.kernels.quantize_weights(new, x, None, to);
        };
        let [n_cols, n_rows, ..] = self.tensor.from.dims.map(|dim| dim as usize);
        let rows = x.chunks_exact(n_cols).zip(to.chunks_exact_mut(bytes_of(new, n_cols)));
        for (row, (x, to)) in (first / n_cols..).zip(rows) {
            // Experts follow one another, as their importance does.
            let expert = row / n_rows * n_cols % importance.len();
            let importance = importance.get(expert..expert + n_cols).unwrap_or_default();
            self.options.kernels.quantize_weights(new, x, Some(importance), to)?;
        }
        Ok(())
    }

    fn fault(&self, what: What) -> Fault {
        let name = self.tensor.from.name.to_owned();
        Fault { name, n_cols: self.tensor.from.view.n_cols(), to: self.tensor.to.ty, what }
    }
}

/// A float's bits without its sign, which compare as magnitudes do; those of NaN are the greatest.
fn magnitude(x: f32) -> u32 {
    x.to_bits() & (u32::MAX >> 1)
}

/// What is wrong with a tensor.
struct Fault {
    name: String,
    n_cols: usize,
    to: GgmlType,
    what: What,
}

enum What {
    /// A weight that is no number, and which.
    NotFinite(f32, usize),
    /// How large weights are near the first that became none.
    TooLarge(f32, usize),
    Block(QuantError),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, to) = (OneLine(&self.name), self.to);
        let place = |index| (index / self.n_cols.max(1), index % self.n_cols.max(1));
        match self.what {
            What::NotFinite(x, index) => {
                let (row, column) = place(index);
                write!(
                    f,
                    "{name}: the weight in row {row}, column {column} is {x}; convert the model \
                     anew, or pass --allow-nan to keep going"
                )
            }
            What::TooLarge(x, index) => {
                let (row, column) = place(index);
                write!(
                    f,
                    "{name}: weights up to {x:e} near row {row}, column {column} are too large \
                     for {to}; take BF16 for it (--tensor-type), or pass --allow-nan"
                )
            }
            What::Block(error) => write!(f, "{name}: {error}"),
        }
    }
}

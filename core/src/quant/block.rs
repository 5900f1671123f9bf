//! The one checked cast from bytes to blocks.

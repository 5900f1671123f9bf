//! What the boot ROM reads of the image: two blocks, each with the way to the other. An image of
//! which flash holds only the first part is not started, as its loop is open.

use rp235x_hal::block::{Block, ImageDef, item_ignored};

unsafe extern "C" {
    /// Their addresses are the distances.
    static _from_start_to_end: u32;
    static _from_end_to_start: u32;
}

/// An Arm program for the secure state, which the chip starts in.
#[used]
// SAFETY: the section is the boot ROM's, and holds nothing else.
#[unsafe(link_section = ".start_block")]
static START: ImageDef = ImageDef::secure_exe().with_offset(&raw const _from_start_to_end);

#[used]
// SAFETY: as above.
#[unsafe(link_section = ".end_block")]
static END: Block<1> = Block::new([item_ignored()]).with_offset(&raw const _from_end_to_start);

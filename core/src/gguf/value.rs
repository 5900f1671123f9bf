//! Metadata values, lent from the file: scalars by value, strings and arrays by reference.

use core::fmt;
use core::iter::FusedIterator;

use super::error::{Counted, ParseErrorKind};
use super::reader::{LENGTH_BYTES, Reader, split_string};

/// The type of a metadata value or of an array's elements, numbered as in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ValueType {
    /// Unsigned, 8 bits.
    U8 = 0,
    /// Signed, 8 bits.
    I8 = 1,
    /// Unsigned, 16 bits.
    U16 = 2,
    /// Signed, 16 bits.
    I16 = 3,
    /// Unsigned, 32 bits.
    U32 = 4,
    /// Signed, 32 bits.
    I32 = 5,
    /// IEEE single precision.
    F32 = 6,
    /// One byte, 0 or 1.
    Bool = 7,
    /// A 64-bit length and that many bytes.
    Str = 8,
    /// An element type, a 64-bit length and that many elements.
    Array = 9,
    /// Unsigned, 64 bits.
    U64 = 10,
    /// Signed, 64 bits.
    I64 = 11,
    /// IEEE double precision.
    F64 = 12,
}

impl ValueType {
    /// Returns the type with this number in the file.
    pub const fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::Str,
            9 => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// Returns the type's name as tools print it, such as `u32`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::Str => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// Returns the bytes that every value of this type takes, or `None` where they vary.
    pub const fn fixed_bytes(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Str | Self::Array => None,
        }
    }

    fn read(r: &mut Reader<'_>) -> Self {
        let id = r.u32();
        Self::from_id(id).unwrap_or_else(|| {
            r.fail(ParseErrorKind::UnknownValueType(id));
            Self::U8
        })
    }
}

/// A metadata value.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'m> {
    /// Unsigned, 8 bits.
    U8(u8),
    /// Signed, 8 bits.
    I8(i8),
    /// Unsigned, 16 bits.
    U16(u16),
    /// Signed, 16 bits.
    I16(i16),
    /// Unsigned, 32 bits.
    U32(u32),
    /// Signed, 32 bits.
    I32(i32),
    /// IEEE single precision.
    F32(f32),
    /// A boolean.
    Bool(bool),
    /// Text.
    Str(&'m str),
    /// Elements of one type.
    Array(Array<'m>),
    /// Unsigned, 64 bits.
    U64(u64),
    /// Signed, 64 bits.
    I64(i64),
    /// IEEE double precision.
    F64(f64),
    /// A string that is not UTF-8. Only [`Array::iter`] yields it: a token's text may be any
    /// bytes, while every other string in a file must be UTF-8.
    Bytes(&'m [u8]),
}

impl<'m> Value<'m> {
    /// Returns the value when it is an integer from 0 to 2^64 - 1.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// Returns the value when it is an integer from 0 to 2^32 - 1.
    pub fn as_u32(&self) -> Option<u32> {
        self.as_u64()?.try_into().ok()
    }

    /// Returns the value when it is an integer that fits in 64 signed bits.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::I8(v) => Some(v.into()),
            Self::I16(v) => Some(v.into()),
            Self::I32(v) => Some(v.into()),
            Self::I64(v) => Some(v),
            _ => self.as_u64()?.try_into().ok(),
        }
    }

    /// Returns the value when it is a float, rounded to single precision.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    /// Returns the value when it is a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// Returns the value when it is text.
    pub fn as_str(&self) -> Option<&'m str> {
        match *self {
            Self::Str(v) => Some(v),
            _ => None,
        }
    }

    /// Returns the value when it is an array.
    pub fn as_array(&self) -> Option<Array<'m>> {
        match *self {
            Self::Array(v) => Some(v),
            _ => None,
        }
    }

    /// Returns the value's type.
    pub const fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::Str(_) | Self::Bytes(_) => ValueType::Str,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// Returns the name of the value's type, such as `u32`.
    pub const fn type_name(&self) -> &'static str {
        self.value_type().name()
    }

    /// Reads a type and its value from untrusted bytes, checking every element of an array.
    pub(super) fn parse(r: &mut Reader<'m>) -> Self {
        Self::read(r, true)
    }

    /// Reads a type and its value from all of `r`, which `parse` has accepted before.
    ///
    /// An array is whatever follows its length: its elements are not walked again.
    pub(super) fn reread(mut r: Reader<'m>) -> Option<Self> {
        let value = Self::read(&mut r, false);
        (!r.failed()).then_some(value)
    }

    #[inline(never)]
    fn read(r: &mut Reader<'m>, walk: bool) -> Self {
        match ValueType::read(r) {
            ValueType::Array => Self::Array(Array::read(r, walk)),
            ty => Self::scalar(r, ty),
        }
    }

    fn scalar(r: &mut Reader<'m>, ty: ValueType) -> Self {
        let Some(size) = ty.fixed_bytes() else {
            let len = r.u64();
            return Self::Str(r.text(len));
        };
        let bits = r.number(size);
        match ty {
            ValueType::U8 => Self::U8(bits as u8),
            ValueType::I8 => Self::I8(bits as i8),
            ValueType::U16 => Self::U16(bits as u16),
            ValueType::I16 => Self::I16(bits as i16),
            ValueType::U32 => Self::U32(bits as u32),
            ValueType::I32 => Self::I32(bits as i32),
            ValueType::F32 => Self::F32(f32::from_bits(bits as u32)),
            ValueType::I64 => Self::I64(bits as i64),
            ValueType::F64 => Self::F64(f64::from_bits(bits)),
            ValueType::Bool => {
                if bits > 1 {
                    r.fail(ParseErrorKind::InvalidBool(bits as u8));
                }
                Self::Bool(bits == 1)
            }
            // Strings and arrays have no fixed size.
            ValueType::U64 | ValueType::Str | ValueType::Array => Self::U64(bits),
        }
    }
}

/// An array of a file's metadata: elements of one type, decoded as they are asked for.
#[derive(Clone, Copy, PartialEq)]
pub struct Array<'m> {
    bytes: &'m [u8],
    len: usize,
    offset: usize,
    ty: ValueType,
}

impl<'m> Array<'m> {
    /// Returns the type of the elements, never [`ValueType::Array`].
    pub const fn ty(&self) -> ValueType {
        self.ty
    }

    /// Returns the number of elements.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the elements as they lie in the file: little-endian numbers, or strings each
    /// after its 64-bit length.
    pub const fn bytes(&self) -> &'m [u8] {
        self.bytes
    }

    /// Returns the offset of the first element from the start of the file, in bytes.
    pub const fn offset(&self) -> u64 {
        self.offset as u64
    }

    /// Returns the elements one after the other, whatever their type.
    ///
    /// Strings that are not UTF-8 come as [`Value::Bytes`].
    pub fn iter(&self) -> Elements<'m> {
        let end = self.offset + self.bytes.len();
        Elements { rest: Reader::new(self.bytes, end), left: self.len, ty: self.ty }
    }

    /// Returns the bytes of each string, or `None` when the elements are not strings.
    pub fn strings(&self) -> Option<StrIter<'m>> {
        (self.ty == ValueType::Str).then_some(StrIter { rest: self.bytes, left: self.len })
    }

    /// Returns the elements of an array of `u32`.
    pub fn u32s(&self) -> Option<impl ExactSizeIterator<Item = u32> + Clone + use<'m>> {
        self.words(ValueType::U32).map(|words| words.map(u32::from_le_bytes))
    }

    /// Returns the elements of an array of `i32`.
    pub fn i32s(&self) -> Option<impl ExactSizeIterator<Item = i32> + Clone + use<'m>> {
        self.words(ValueType::I32).map(|words| words.map(i32::from_le_bytes))
    }

    /// Returns the elements of an array of `f32`.
    pub fn f32s(&self) -> Option<impl ExactSizeIterator<Item = f32> + Clone + use<'m>> {
        self.words(ValueType::F32).map(|words| words.map(f32::from_le_bytes))
    }

    /// Returns the elements of an array of booleans.
    pub fn bools(&self) -> Option<impl ExactSizeIterator<Item = bool> + Clone + use<'m>> {
        (self.ty == ValueType::Bool).then(|| self.bytes.iter().map(|&byte| byte != 0))
    }

    fn words(
        &self,
        ty: ValueType,
    ) -> Option<impl ExactSizeIterator<Item = [u8; 4]> + Clone + use<'m>> {
        (self.ty == ty).then(|| self.bytes.as_chunks::<4>().0.iter().copied())
    }

    /// Reads element type, length and elements; without `walk`, the elements are all of the rest.
    fn read(r: &mut Reader<'m>, walk: bool) -> Self {
        let ty = ValueType::read(r);
        if ty == ValueType::Array {
            r.fail(ParseErrorKind::NestedArray);
        }
        let at_len = r.offset();
        let len = r.u64();
        let size = ty.fixed_bytes();
        let len = r.count(at_len, Counted::Elements, len, size.unwrap_or(LENGTH_BYTES));
        let offset = r.offset();
        let bytes = match size {
            _ if !walk => r.rest(),
            Some(size) => r.take((len * size) as u64),
            None => r.strings(len),
        };
        if ty == ValueType::Bool
            && let Some((i, &byte)) = bytes.iter().enumerate().find(|(_, byte)| **byte > 1)
        {
            r.fail_at(offset + i, ParseErrorKind::InvalidBool(byte));
        }
        Self { bytes, len, offset, ty }
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}; {}]", self.ty.name(), self.len)
    }
}

/// The elements of an [`Array`].
#[derive(Clone)]
pub struct Elements<'m> {
    rest: Reader<'m>,
    left: usize,
    ty: ValueType,
}

impl<'m> Iterator for Elements<'m> {
    type Item = Value<'m>;

    fn next(&mut self) -> Option<Value<'m>> {
        self.left = self.left.checked_sub(1)?;
        if self.ty != ValueType::Str {
            return Some(Value::scalar(&mut self.rest, self.ty));
        }
        let bytes = self.rest.string();
        Some(core::str::from_utf8(bytes).map_or(Value::Bytes(bytes), Value::Str))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Elements<'_> {}
impl FusedIterator for Elements<'_> {}

/// The strings of an [`Array`], as bytes: a token's text need not be UTF-8.
#[derive(Clone)]
pub struct StrIter<'m> {
    rest: &'m [u8],
    left: usize,
}

impl<'m> Iterator for StrIter<'m> {
    type Item = &'m [u8];

    fn next(&mut self) -> Option<&'m [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (string, rest) = split_string(self.rest)?;
        self.rest = rest;
        Some(string)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for StrIter<'_> {}
impl FusedIterator for StrIter<'_> {}

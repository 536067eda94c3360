//! What the server says of a table: its columns, their types, its key.

/// A table's columns and key as one statement saw them. Two that are equal encode alike: a difference re-plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Live columns (not dropped) in the order of `attnum`, generated and identity columns included.
    pub columns: Vec<Column>,
    /// Positions in `columns` of the key's columns, in the index's order; empty: no key.
    pub key: Vec<usize>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub attnum: i16,
    pub name: String,
    /// `NOT NULL`, on the column or on the domain.
    pub not_null: bool,
    /// As `format_type` prints it, for people and the `strandline.type` attribute: `numeric(12,2)`, `public.mood[]`.
    pub declared: String,
    /// The type with domains resolved to what they stand for.
    pub type_: Type,
    /// The type modifier with domains resolved; -1: none.
    pub typmod: i32,
}

/// A type, domains resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub class: Class,
}

/// What sort of type it is, as far as encoding cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// A base type, built in or of an extension.
    Base,
    /// An enum, its labels in `enumsortorder`.
    Enum(Vec<String>),
    /// A true array (`typsubscript = array_subscript_handler`), with the element type, domains resolved.
    Array(Box<Type>),
    /// Composite, range, multirange, pseudo.
    Other,
}

//! Being built.
#[derive(Debug)]
pub struct Problem;
#[derive(Debug)]
pub struct Problems;

//! Being built.
use super::{Config, Problems};
#[derive(Debug, Default)]
pub struct Sources {}
pub fn load(_sources: &Sources) -> Result<Config, Problems> {
    Err(Problems)
}

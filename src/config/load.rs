//! Defaults < file < environment < command line, merged and read into a [`Config`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::Dict;
use figment::{Figment, Profile, Provider};

use super::layer::Layer;
use super::problem::{Origin, Problem, Problems};
use super::reader::{Reader, Setting};
use super::{Config, section};

/// Where a configuration comes from. All of it is passed in, so that nothing depends on the state of the process.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML, YAML or JSON file; it has to exist.
    pub file: PathBuf,
    /// The environment's variables, all of them: `STRANDLINE_…` are settings, any may be named by `${env:…}`.
    pub environment: Vec<(String, String)>,
    /// `--set key=value`, in their order.
    pub set: Vec<(String, String)>,
}

/// Reads and checks one connector's configuration, or says everything that is wrong with it.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    let mut problems = Vec::new();
    let settings = settings(sources, &mut problems)?;
    let lookup =
        |name: &str| sources.environment.iter().find(|(variable, _)| variable == name).map(|(_, value)| value.clone());
    let mut reader = Reader::new(settings, &sources.file, &lookup, problems);
    let config = section::config(&mut reader);
    match reader.finish() {
        problems if problems.is_empty() => Ok(config),
        problems => Err(Problems::new(problems)),
    }
}

/// The layers over each other. With a broken file everything else would be reported as missing: then it alone is told.
pub(super) fn settings(sources: &Sources, problems: &mut Vec<Problem>) -> Result<BTreeMap<String, Setting>, Problems> {
    let alone = |key: &str, found: String, message: &str| {
        let origin = Origin::Whole(sources.file.clone());
        Problems::new(vec![Problem { key: key.to_owned(), origin, found, message: message.to_owned() }])
    };
    let text = std::fs::read_to_string(&sources.file).map_err(|error| {
        let needs = "a TOML, YAML or JSON file, or a directory of them; --config or STRANDLINE_CONFIG names another";
        alone("configuration file", error.to_string(), needs)
    })?;
    let Some(file) = Layer::file(&sources.file, &text, problems) else {
        return Err(Problems::new(std::mem::take(problems)));
    };
    let environment = Layer::environment(&sources.environment, problems);
    let layers = [Layer::defaults(), file, environment, Layer::flags(&sources.set)];
    merge(&layers).map_err(|error| alone("configuration", error.to_string(), "layers that can be merged"))
}

/// Puts the layers over each other; figment's tag on each value says which layer won.
fn merge(layers: &[Layer]) -> Result<BTreeMap<String, Setting>, Box<figment::Error>> {
    let figment = layers.iter().fold(Figment::new(), |figment, layer| figment.merge(layer));
    let values: Dict = figment.data()?.remove(&Profile::Default).unwrap_or_default();
    let origin = |key: &str, tag| {
        let layer = figment.get_metadata(tag)?.name.as_ref();
        layers.iter().find_map(|one| one.origin(layer, key)).cloned()
    };
    Ok(values
        .into_iter()
        .map(|(key, value)| {
            let origin = origin(&key, value.tag()).unwrap_or(Origin::Default);
            (key, Setting { value, origin })
        })
        .collect())
}

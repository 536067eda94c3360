//! Several connectors in one process: files and directories of files, one connector each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Config;
use super::load::{Sources, load};
use super::problem::{Origin, Problem, Problems};

/// What a connector's file in a directory ends with.
const EXTENSIONS: [&str; 4] = ["toml", "yaml", "yml", "json"];

/// Directories replaced by the configurations in them, sorted by name; hidden files are left out.
pub fn files(sources: &[Sources]) -> Result<Vec<Sources>, Problems> {
    let mut all = Vec::new();
    let mut problems = Vec::new();
    for one in sources {
        if !one.file.is_dir() {
            all.push(one.clone());
            continue;
        }
        let mut refuse = |found: String| {
            problems.push(Problem {
                key: "configuration directory".to_owned(),
                origin: Origin::Whole(one.file.clone()),
                found,
                message: "a directory with a file for each connector: *.toml, *.yaml, *.yml or *.json".to_owned(),
            });
        };
        match configurations(&one.file) {
            Ok(files) if files.is_empty() => refuse("no configuration in it".to_owned()),
            Ok(files) => all.extend(files.into_iter().map(|file| Sources { file, ..one.clone() })),
            Err(error) => refuse(error.to_string()),
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(Problems::new(problems)) }
}

fn configurations(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let file = entry?.path();
        let known = file.extension().and_then(|it| it.to_str()).is_some_and(|it| EXTENSIONS.contains(&it));
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if known && !hidden && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads and checks every connector's configuration, or says everything that is wrong with any. Names are unique.
pub fn load_all(sources: &[Sources]) -> Result<Vec<Config>, Problems> {
    let files = files(sources)?;
    let mut configs = Vec::new();
    let mut problems = Vec::new();
    let mut names: BTreeMap<String, &Path> = BTreeMap::new();
    for one in &files {
        let config = match load(one) {
            Ok(config) => config,
            Err(more) => {
                problems.extend(more.iter().cloned());
                continue;
            }
        };
        match names.get(&config.name) {
            Some(other) => problems.push(Problem {
                key: "name".to_owned(),
                origin: Origin::Whole(one.file.clone()),
                found: format!("{:?}", config.name),
                message: format!("a name of its own; {} has the same", other.display()),
            }),
            None => {
                names.insert(config.name.clone(), &one.file);
            }
        }
        configs.push(config);
    }
    if problems.is_empty() { Ok(configs) } else { Err(Problems::new(problems)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str =
        "\ndatabase: {url: 'postgres://db/x'}\nkafka: {bootstrap.servers: k}\nschema_registry: {url: 'http://r'}\n";

    fn source(file: &Path) -> Vec<Sources> {
        vec![Sources { file: file.to_owned(), ..Sources::default() }]
    }

    #[test]
    fn a_directory_is_its_configurations_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        assert!(load_all(&source(directory.path())).unwrap_err().to_string().contains("no configuration in it"));
        write("b.yaml", &format!("name: b{REST}"));
        write("a.yml", &format!("name: a{REST}"));
        write(".hidden.yaml", "name: c");
        write("notes.txt", "name: d");
        let configs = load_all(&source(directory.path())).unwrap();
        assert_eq!(configs.iter().map(|config| config.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn two_connectors_of_one_name_and_all_their_mistakes_are_told_together() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("a.yaml", &format!("name: x{REST}"));
        write("b.yaml", &format!("name: x{REST}"));
        write("c.yaml", &format!("name: y\ntasks.max: 0{REST}"));
        let report = load_all(&source(directory.path())).unwrap_err().to_string();
        let report = report.replace(&format!("{}/", directory.path().display()), "");
        assert_eq!(
            report,
            "c.yaml:2:1: tasks.max\n  found: 0\n  needs: an integer from 1 to 64\n\
             b.yaml: name\n  found: \"x\"\n  needs: a name of its own; a.yaml has the same"
        );
    }
}

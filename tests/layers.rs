//! Who may import whom: reads every path that the code under `src/` names and holds it against the rules of `src/lib.rs`.
//!
//! It looks at tokens, not at lines, so a path counts wherever it stands (a `use`, a type, an expression, a macro), however
//! it is spelled (`crate::`, `super::super::`, braces), and comments and strings do not count. Code under `#[cfg(test)]`
//! is free: tests may reach across.

// clippy.toml allows these in tests, which to clippy are only the `#[test]` functions themselves.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// What one module of the library may name.
struct Layer {
    name: &'static str,
    /// Other modules of this library.
    may_import: &'static [&'static str],
    /// Paths outside the library, by their beginning (`kube` means all of it) or, starting with `::`, by their end.
    may_not_name: &'static [&'static [&'static str]],
}

const KUBERNETES: &[&str] = &["kube", "k8s_openapi", "kube_client", "kube_runtime"];
const MYSQL: &[&str] = &["mysql_async", "tonic", "prost"];
const STORAGE: &[&str] = &["object_store"];
const ASYNC_AND_IO: &[&str] = &[
    "tokio",
    "tokio_stream",
    "tokio_util",
    "futures",
    "async_trait",
    "std::fs",
    "std::net",
    "std::process",
    "std::io",
];
const CLOCK_AND_CHANCE: &[&str] = &["::SystemTime::now", "::Instant::now", "::Timestamp::now", "::Zoned::now", "rand"];
const CLIENT: &[&str] = &["kube::Client", "kube::client", "kube::Api", "kube::api::Api", "kube::runtime"];
const COMMAND_LINE: &[&str] = &["clap", "anyhow"];

const VOCABULARY: &[&[&str]] = &[KUBERNETES, MYSQL, STORAGE, ASYNC_AND_IO, CLOCK_AND_CHANCE, COMMAND_LINE];
const ENGINE_HALF: &[&[&str]] = &[KUBERNETES, COMMAND_LINE];
const PURE_KUBERNETES: &[&[&str]] = &[CLIENT, MYSQL, STORAGE, ASYNC_AND_IO, CLOCK_AND_CHANCE, COMMAND_LINE];
const KUBERNETES_SHELL: &[&[&str]] = &[MYSQL, STORAGE, COMMAND_LINE];

/// The rules; `cli` is over all of them and has none.
const LAYERS: &[Layer] = &[
    Layer { name: "topo", may_import: &[], may_not_name: VOCABULARY },
    Layer { name: "duration", may_import: &[], may_not_name: VOCABULARY },
    Layer { name: "progress", may_import: &["topo"], may_not_name: VOCABULARY },
    Layer { name: "replication", may_import: &["topo"], may_not_name: VOCABULARY },
    Layer { name: "backup", may_import: &["topo", "progress", "replication"], may_not_name: VOCABULARY },
    Layer { name: "storage", may_import: WORDS, may_not_name: ENGINE_HALF },
    Layer { name: "mysqld", may_import: WORDS, may_not_name: ENGINE_HALF },
    Layer { name: "codec", may_import: WORDS, may_not_name: ENGINE_HALF },
    Layer { name: "topology", may_import: WORDS, may_not_name: ENGINE_HALF },
    Layer {
        name: "engine",
        may_import: &[
            "topo",
            "duration",
            "progress",
            "replication",
            "backup",
            "storage",
            "mysqld",
            "topology",
            "codec",
        ],
        may_not_name: ENGINE_HALF,
    },
    Layer { name: "api", may_import: WORDS, may_not_name: PURE_KUBERNETES },
    Layer {
        name: "resources",
        may_import: &["topo", "duration", "progress", "replication", "backup", "api"],
        may_not_name: PURE_KUBERNETES,
    },
    Layer {
        name: "plan",
        may_import: &["topo", "duration", "progress", "replication", "backup", "api", "resources"],
        may_not_name: PURE_KUBERNETES,
    },
    Layer { name: "telemetry", may_import: WORDS, may_not_name: KUBERNETES_SHELL },
    Layer {
        name: "controller",
        may_import: &["topo", "progress", "replication", "backup", "api", "resources", "plan", "telemetry"],
        may_not_name: KUBERNETES_SHELL,
    },
];
const WORDS: &[&str] = &["topo", "duration", "progress", "replication", "backup"];
const ON_TOP: &str = "cli";

#[test]
fn every_module_imports_only_what_its_layer_may() {
    let violations: Vec<String> = sources()
        .iter()
        .flat_map(|(file, module)| {
            let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            violations(module, &text).into_iter().map(move |what| format!("{}: {what}", file.display()))
        })
        .collect();
    assert!(violations.is_empty(), "the layer rules of src/lib.rs are broken:\n{}", violations.join("\n"));
}

#[test]
fn every_module_of_the_library_has_a_layer_and_every_layer_is_a_module() {
    let text = std::fs::read_to_string(root().join("lib.rs")).unwrap();
    let modules: BTreeSet<_> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let layers: BTreeSet<_> = LAYERS.iter().map(|layer| layer.name).chain([ON_TOP]).collect();
    assert_eq!(modules, layers);
}

#[test]
fn a_planted_import_is_found_however_it_is_spelled() {
    for (module, planted) in [
        ("topo", "use crate::storage::BackupStorage;"),
        ("topo::alias", "use super::super::storage::BackupStorage;"),
        ("topo", "mod inner { use super::super::storage::BackupStorage; }"),
        ("plan::backup", "use crate::{api::VitessBackup, engine::{self, builtin}};"),
        ("controller::backup", "fn f() { crate::mysqld::connect() }"),
        ("controller", "type T = Vec<crate::engine::Tablet>;"),
        ("controller", "fn f() { info!(\"{}\", crate::engine::NAME) }"),
        ("controller", "mod tests { use crate::engine::X; }"),
        ("codec", "pub use crate::cli::main;"),
        ("storage", "use crate::codec::Codec;"),
        ("engine", "use kube::Client;"),
        ("engine", "fn f(e: &k8s_openapi::api::core::v1::Pod) {}"),
        ("plan", "use kube::{Resource, runtime::controller::Action, Client};"),
        ("plan", "fn f() { jiff::Timestamp::now(); }"),
        ("plan", "use jiff::Timestamp; fn f() { Timestamp::now(); }"),
        ("resources", "fn f() -> u8 { rand::random() }"),
        ("backup", "use std::{fmt, fs};"),
        ("backup", "fn f() { let _ = std::fs::read(\"x\"); }"),
        ("controller", "use object_store::ObjectStore;"),
        ("engine", "use anyhow::Result;"),
    ] {
        assert!(!violations(module, planted).is_empty(), "in {module}: {planted}");
    }
}

#[test]
fn a_violation_names_the_line_and_both_sides() {
    assert_eq!(
        violations("topo::alias", "use std::fmt;\n\nuse crate::storage::X;\n"),
        ["line 3: topo may not import crate::storage (it may import: nothing)"]
    );
    assert_eq!(
        violations("plan", "fn now() { Timestamp::now() }"),
        ["line 1: plan may not name Timestamp::now: what it decides must follow from its arguments"]
    );
}

#[test]
fn what_is_allowed_and_what_only_looks_like_an_import_is_left_alone() {
    for (module, fine) in [
        ("backup", "use crate::progress::Step; use super::backup::name::X; use self::manifest::Y;"),
        ("backup::name", "use super::manifest::Manifest; use crate::topo::{Cell, TabletAlias};"),
        ("plan", "use kube::ResourceExt; use crate::{api::X, resources::job};"),
        ("topo", "/* crate::storage */ // use crate::storage\nconst X: &str = \"crate::storage::X\";"),
        ("topo", "#[cfg(test)] mod tests { use crate::storage::X; use std::fs; }"),
        ("topo", "#[cfg(test)] use crate::storage::X;\nuse std::fmt;"),
        ("backup", "mod inner { use super::storage::X; }"),
        ("cli::operator", "use crate::{controller, engine, mysqld};"),
    ] {
        assert_eq!(violations(module, fine), [""; 0], "in {module}: {fine}");
    }
}

#[test]
fn code_after_a_test_item_counts_again() {
    let text = "#[cfg(test)]\nmod tests { use crate::storage::X; }\nuse crate::storage::Y;";
    assert_eq!(violations("topo", text).len(), 1);
}

// --- the checker ---------------------------------------------------------------------------------------------------

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file of the library with its module path (`backup::name`). Files that are modules of tests are left out, and so
/// is the root, which only lists the modules.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_string_lossy();
            if stem == "tests" || stem.ends_with("_tests") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root()).unwrap().with_extension("");
                let segments: Vec<_> =
                    relative.iter().map(|part| part.to_str().unwrap()).filter(|part| *part != "mod").collect();
                if segments != ["lib"] && segments != ["main"] {
                    found.push((path.clone(), segments.join("::")));
                }
            }
        }
    }
    assert!(found.len() > LAYERS.len(), "only {} files found under src/", found.len());
    found.sort();
    found
}

/// One sentence for each path in `text`, the source of `module`, that its layer may not name.
fn violations(module: &str, text: &str) -> Vec<String> {
    let own = module.split("::").next().unwrap_or_default();
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == own) else {
        assert_eq!(own, ON_TOP, "a module without a layer: {module}");
        return Vec::new();
    };
    let tokens = TokenStream::from_str(text).unwrap_or_else(|error| panic!("{module}: {error}"));
    let mut named = BTreeSet::new();
    paths(tokens, &module.split("::").map(str::to_owned).collect::<Vec<_>>(), &mut named);
    named.iter().filter_map(|(line, path)| layer.verdict(path).map(|what| format!("line {line}: {what}"))).collect()
}

impl Layer {
    /// What is wrong with naming this path, if anything.
    fn verdict(&self, path: &[String]) -> Option<String> {
        let Self { name, may_import, may_not_name } = self;
        if path[0] == "crate" {
            let module = path.get(1)?;
            let is_module = module == ON_TOP || LAYERS.iter().any(|layer| layer.name == module);
            if !is_module || module == name || may_import.contains(&module.as_str()) {
                return None;
            }
            let allowed = if may_import.is_empty() { "nothing".to_owned() } else { may_import.join(", ") };
            return Some(format!("{name} may not import crate::{module} (it may import: {allowed})"));
        }
        let text = path.join("::");
        let stands_in = |rule: &str| match rule.strip_prefix("::") {
            Some(end) => text == end || text.ends_with(rule),
            None => text == rule || text.strip_prefix(rule).is_some_and(|rest| rest.starts_with("::")),
        };
        let group = may_not_name.iter().find(|group| group.iter().any(|rule| stands_in(rule)))?;
        let why = if std::ptr::eq(*group, CLOCK_AND_CHANCE) {
            ": what it decides must follow from its arguments"
        } else {
            ""
        };
        Some(format!("{name} may not name {text}{why}"))
    }
}

/// Collects every path of two segments or more with its line. Paths into this library begin with `crate`, whether they
/// were spelled so or climb there by `super` from `module`.
fn paths(tokens: TokenStream, module: &[String], found: &mut BTreeSet<(usize, Vec<String>)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens, at) {
            at = after_item(&tokens, at + 2);
            continue;
        }
        match &tokens[at] {
            TokenTree::Ident(word) if word == "mod" => {
                if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    let inner: Vec<_> = module.iter().cloned().chain([name.to_string()]).collect();
                    paths(body.stream(), &inner, found);
                    at += 3;
                    continue;
                }
                at += 1;
            }
            TokenTree::Ident(_) => at = path(&tokens, at, &[], module, found),
            TokenTree::Group(group) => {
                paths(group.stream(), module, found);
                at += 1;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => at += 1,
        }
    }
}

/// Reads the path that begins at `at` and continues `before` (the part in front of a brace), and returns where it ends.
fn path(
    tokens: &[TokenTree],
    mut at: usize,
    before: &[String],
    module: &[String],
    found: &mut BTreeSet<(usize, Vec<String>)>,
) -> usize {
    let mut segments = before.to_vec();
    let line = tokens[at].span().start().line;
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) => segments.push(word.to_string()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let mut next = 0;
                while next < inner.len() {
                    next = match inner[next] {
                        TokenTree::Ident(_) => path(&inner, next, &segments, module, found),
                        _ => next + 1,
                    };
                }
                return at + 1;
            }
            // A glob, a turbofish: the path so far is what counts.
            _ => break,
        }
        at += 1;
        if !is_colons(tokens, at) {
            break;
        }
        at += 2;
    }
    let resolved = resolve(&segments, module);
    if resolved.len() > 1 {
        found.insert((line, resolved));
    }
    at
}

/// `super` and `self` put into words: a path from the library's root, which begins with `crate`, or one outside it.
fn resolve(path: &[String], module: &[String]) -> Vec<String> {
    let climbs = path.iter().take_while(|segment| *segment == "super" || *segment == "self").count();
    if climbs == 0 {
        return path.to_vec();
    }
    let up = path[..climbs].iter().filter(|segment| *segment == "super").count();
    let stay = module.len().saturating_sub(up);
    let from_root = ["crate".to_owned()].into_iter().chain(module[..stay].iter().cloned());
    from_root.chain(path[climbs..].iter().cloned()).collect()
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    matches!((tokens.get(at), tokens.get(at + 1)),
        (Some(TokenTree::Punct(one)), Some(TokenTree::Punct(two)))
            if one.as_char() == ':' && one.spacing() == Spacing::Joint && two.as_char() == ':')
}

fn is_test_attribute(tokens: &[TokenTree], at: usize) -> bool {
    matches!((&tokens[at], tokens.get(at + 1)),
        (TokenTree::Punct(hash), Some(TokenTree::Group(attribute)))
            if hash.as_char() == '#' && attribute.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// Where the item that begins at `at` ends: behind its braces, or behind its semicolon.
fn after_item(tokens: &[TokenTree], at: usize) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(mark) => mark.as_char() == ';',
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    };
    tokens[at..].iter().position(ends).map_or(tokens.len(), |end| at + end + 1)
}

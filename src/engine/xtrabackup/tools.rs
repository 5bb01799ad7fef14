//! The programs of XtraBackup and the arguments that Vitess gives them.
//!
//! Source: Vitess `xtrabackupengine.go` (`backupFiles`, `extractFiles`, `restoreFromBackup`), which gives every series of
//! XtraBackup (2.4, 8.0, 8.4) the same.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::codec::{self, CodecError};
use crate::engine::EngineError;
use crate::mysqld::Layout;

/// How `xtrabackup --backup` wrote its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamMode {
    #[default]
    Xbstream,
    /// XtraBackup 2.4 only.
    Tar,
}

impl fmt::Display for StreamMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xbstream => "xbstream",
            Self::Tar => "tar",
        })
    }
}

impl FromStr for StreamMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "xbstream" => Ok(Self::Xbstream),
            "tar" => Ok(Self::Tar),
            other => Err(format!("{other:?} is no stream mode: xbstream and tar are")),
        }
    }
}

/// What a restore of such a backup is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XtrabackupOptions {
    /// Where xtrabackup and xbstream are; `None`: in PATH.
    pub root_path: Option<PathBuf>,
    /// For a MANIFEST that does not tell (Vitess before 5).
    pub stream_mode: StreamMode,
    pub prepare_flags: Vec<String>,
    pub xbstream_flags: Vec<String>,
}

impl XtrabackupOptions {
    /// The words of a flag's text, split as Vitess splits them.
    ///
    /// # Errors
    /// `InvalidArguments` for a quote that is not closed.
    pub fn words(flag: &str, text: &str) -> Result<Vec<String>, EngineError> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        codec::split_words(text).map_err(|error| match error {
            CodecError::Command { command, problem } => {
                EngineError::InvalidArguments(format!("{flag}: {command:?} {problem}"))
            }
            other => EngineError::InvalidArguments(format!("{flag}: {other}")),
        })
    }
}

/// One program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// The programs of one restore, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    xtrabackup: PathBuf,
    /// xbstream or tar.
    unpacker: PathBuf,
    mode: StreamMode,
    prepare_flags: Vec<String>,
    xbstream_flags: Vec<String>,
}

impl Tools {
    /// # Errors
    /// `XtrabackupNotFound`.
    pub fn find(options: &XtrabackupOptions, mode: StreamMode) -> Result<Self, EngineError> {
        let XtrabackupOptions { root_path, stream_mode: _, prepare_flags, xbstream_flags } = options;
        let root = root_path.as_deref();
        let unpacker = match mode {
            StreamMode::Xbstream => program("xbstream", root)?,
            // Vitess takes tar from PATH whatever the root path.
            StreamMode::Tar => program("tar", None)?,
        };
        Ok(Self {
            xtrabackup: program("xtrabackup", root)?,
            unpacker,
            mode,
            prepare_flags: prepare_flags.clone(),
            xbstream_flags: xbstream_flags.clone(),
        })
    }

    /// Takes the stream on stdin apart, into a directory that exists.
    pub fn unpack(&self, into: &Path) -> Invocation {
        let directory = into.display().to_string();
        let mut arguments = vec!["-C".to_owned(), directory];
        match self.mode {
            StreamMode::Xbstream => {
                arguments.push("-xv".to_owned());
                arguments.extend_from_slice(&self.xbstream_flags);
            }
            StreamMode::Tar => arguments.push("-xiv".to_owned()),
        }
        Invocation { program: self.unpacker.clone(), arguments }
    }

    /// Applies the redo log.
    pub fn prepare(&self, my_cnf: &Path, directory: &Path) -> Invocation {
        let mut invocation = self.with_defaults(my_cnf, "--prepare", directory);
        invocation.arguments.extend_from_slice(&self.prepare_flags);
        invocation
    }

    /// Moves the files to where my.cnf has its directories, which must be empty.
    pub fn move_back(&self, my_cnf: &Path, directory: &Path) -> Invocation {
        self.with_defaults(my_cnf, "--move-back", directory)
    }

    fn with_defaults(&self, my_cnf: &Path, what: &str, directory: &Path) -> Invocation {
        let arguments = vec![
            format!("--defaults-file={}", my_cnf.display()),
            what.to_owned(),
            format!("--target-dir={}", directory.display()),
        ];
        Invocation { program: self.xtrabackup.clone(), arguments }
    }
}

/// The program that takes a backup, found, and what it is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streamer {
    program: PathBuf,
    user: String,
    mode: StreamMode,
    /// Files that it copies at a time; `None`: as it does by itself, which is one.
    parallel: Option<u16>,
    flags: Vec<String>,
}

impl Streamer {
    /// # Errors
    /// `XtrabackupNotFound`.
    pub fn find(
        root: Option<&Path>,
        user: &str,
        mode: StreamMode,
        parallel: Option<u16>,
        flags: &[String],
    ) -> Result<Self, EngineError> {
        let program = program("xtrabackup", root)?;
        Ok(Self { program, user: user.to_owned(), mode, parallel, flags: flags.to_vec() })
    }

    pub fn mode(&self) -> StreamMode {
        self.mode
    }

    /// Asks for its version.
    pub fn version(&self) -> Invocation {
        Invocation { program: self.program.clone(), arguments: vec!["--version".to_owned()] }
    }

    /// Writes the stream to stdout; what it notes beside that goes into a directory that exists.
    pub fn backup(&self, layout: &Layout, directory: &Path) -> Invocation {
        let mut arguments = vec![
            format!("--defaults-file={}", layout.my_cnf.display()),
            "--backup".to_owned(),
            format!("--socket={}", layout.socket.display()),
            "--slave-info".to_owned(),
            format!("--user={}", self.user),
            format!("--target-dir={}", directory.display()),
            format!("--extra-lsndir={}", directory.display()),
            format!("--stream={}", self.mode),
        ];
        // Vitess has it among the flags. A tar stream takes one file at a time.
        if let (Some(parallel), StreamMode::Xbstream) = (self.parallel.filter(|&parallel| parallel > 1), self.mode)
            && !self.flags.iter().any(|flag| flag.starts_with("--parallel"))
        {
            arguments.push(format!("--parallel={parallel}"));
        }
        arguments.extend_from_slice(&self.flags);
        Invocation { program: self.program.clone(), arguments }
    }
}

fn program(name: &'static str, root: Option<&Path>) -> Result<PathBuf, EngineError> {
    let found = match root {
        Some(root) => Some(root.join(name)).filter(|path| may_run(path)),
        None => std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| may_run(path))
        }),
    };
    found.ok_or_else(|| EngineError::XtrabackupNotFound {
        program: name,
        place: root.map_or_else(|| "any directory of PATH".to_owned(), |root| root.display().to_string()),
    })
}

fn may_run(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(mode: StreamMode) -> Tools {
        Tools {
            xtrabackup: "/pxb/xtrabackup".into(),
            unpacker: "/pxb/xbstream".into(),
            mode,
            prepare_flags: vec!["--use-memory=1G".into()],
            xbstream_flags: vec!["--parallel=4".into()],
        }
    }

    fn line(Invocation { program, arguments }: Invocation) -> String {
        format!("{} {}", program.display(), arguments.join(" "))
    }

    #[test]
    fn the_arguments_are_those_that_vitess_passes() {
        let (my_cnf, directory) = (Path::new("/vt/vt_0000000101/my.cnf"), Path::new("/vt/vt_0000000101/tmp/x"));
        let tools = tools(StreamMode::Xbstream);
        assert_eq!(line(tools.unpack(directory)), "/pxb/xbstream -C /vt/vt_0000000101/tmp/x -xv --parallel=4");
        assert_eq!(
            line(tools.prepare(my_cnf, directory)),
            "/pxb/xtrabackup --defaults-file=/vt/vt_0000000101/my.cnf --prepare --target-dir=/vt/vt_0000000101/tmp/x \
             --use-memory=1G"
        );
        assert_eq!(
            line(tools.move_back(my_cnf, directory)),
            "/pxb/xtrabackup --defaults-file=/vt/vt_0000000101/my.cnf --move-back --target-dir=/vt/vt_0000000101/tmp/x"
        );
    }

    #[test]
    fn the_arguments_of_a_backup_are_those_that_vitess_passes() {
        let mut layout = Layout::vitess_default_for_uid(Path::new("/vt/vt_0000000101"), 101);
        layout.my_cnf = "/vt/vt_0000000101/my.cnf".into();
        layout.socket = "/vt/vt_0000000101/mysql.sock".into();
        let line_of = |mode, parallel, flags: &[&str]| {
            let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            let streamer = Streamer { program: "/pxb/xtrabackup".into(), user: "xtra".into(), mode, parallel, flags };
            line(streamer.backup(&layout, Path::new("/vt/vt_0000000101/tmp")))
        };
        let vitess = "/pxb/xtrabackup --defaults-file=/vt/vt_0000000101/my.cnf --backup \
            --socket=/vt/vt_0000000101/mysql.sock --slave-info --user=xtra --target-dir=/vt/vt_0000000101/tmp \
            --extra-lsndir=/vt/vt_0000000101/tmp";
        assert_eq!(line_of(StreamMode::Xbstream, None, &[]), format!("{vitess} --stream=xbstream"));
        assert_eq!(line_of(StreamMode::Tar, Some(4), &[]), format!("{vitess} --stream=tar"));
        assert_eq!(
            line_of(StreamMode::Xbstream, Some(1), &["--no-server-version-check"]),
            format!("{vitess} --stream=xbstream --no-server-version-check")
        );
        assert_eq!(
            line_of(StreamMode::Xbstream, Some(4), &["--throttle=9"]),
            format!("{vitess} --stream=xbstream --parallel=4 --throttle=9")
        );
        assert_eq!(
            line_of(StreamMode::Xbstream, Some(4), &["--parallel=2"]),
            format!("{vitess} --stream=xbstream --parallel=2")
        );
    }

    #[test]
    fn tar_is_told_to_go_on_after_the_blocks_of_zeros_that_xtrabackup_writes() {
        assert_eq!(line(tools(StreamMode::Tar).unpack(Path::new("/x"))), "/pxb/xbstream -C /x -xiv");
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_where_it_was_looked_for() {
        let empty = tempfile::tempdir().unwrap();
        let options = XtrabackupOptions { root_path: Some(empty.path().to_owned()), ..XtrabackupOptions::default() };
        let missing = Tools::find(&options, StreamMode::Xbstream).unwrap_err();
        assert_eq!(missing.to_string(), format!("cannot find xbstream in {}", empty.path().display()));
        let file = |name: &str, mode| {
            std::fs::write(empty.path().join(name), "").unwrap();
            std::fs::set_permissions(empty.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        file("xbstream", 0o755);
        file("xtrabackup", 0o644); // is no program
        let missing = Tools::find(&options, StreamMode::Xbstream).unwrap_err();
        assert_eq!(missing.to_string(), format!("cannot find xtrabackup in {}", empty.path().display()));
        file("xtrabackup", 0o755);
        assert!(Tools::find(&options, StreamMode::Xbstream).is_ok());
    }

    #[test]
    fn flags_are_split_as_a_shell_would_and_none_is_none() {
        let words = |text| XtrabackupOptions::words("--xtrabackup-prepare-flags", text);
        assert_eq!(words(" ").unwrap(), [""; 0]);
        assert_eq!(words("--a='b c' --d").unwrap(), ["--a=b c", "--d"]);
        let refused = words("'open").unwrap_err().to_string();
        assert_eq!(refused, "--xtrabackup-prepare-flags: \"'open\" has a quote that is not closed");
    }
}

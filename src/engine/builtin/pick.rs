//! Which backup a restore takes, and what becomes of the run when that one turns out damaged.
//!
//! Nothing is passed over quietly that was a good backup once: a damaged newest one ends the run with a word on the next
//! older one, and only with `fallback` that one is taken. (Vitess skips a MANIFEST that it cannot read, and fails on the rest.)

use crate::backup::choose::{Facts, PassedOver, Wanted, Why};
use crate::backup::manifest::{Builtin, Method, Xtrabackup};
use crate::backup::name;
use crate::codec::Decompression;
use crate::engine::EngineError;
use crate::engine::builtin::restored::RestoreOptions;
use crate::engine::builtin::space;
use crate::engine::builtin::target::{self, Target};
use crate::engine::catalogue::{self, Chosen};
use crate::engine::xtrabackup::{self, StoredStream, Tools};
use crate::mysqld::{Layout, ServerVersion, check_compatible};
use crate::progress::Monitor;
use crate::replication::Position;
use crate::storage::BackupStorage;
use crate::topo::KeyspaceShard;

/// A backup that was chosen and examined.
pub struct Picked {
    pub chosen: Chosen,
    pub content: Content,
}

/// What a backup fills the data directories with: its engine's own.
pub enum Content {
    Files { target: Target, decompression: Decompression },
    Stream { stream: StoredStream, tools: Tools },
}

impl Content {
    pub fn position(&self) -> Option<&Position> {
        match self {
            Self::Files { target, .. } => target.position.as_ref(),
            Self::Stream { stream, .. } => stream.position.as_ref(),
        }
    }

    /// Bytes as stored.
    pub fn stored_bytes(&self) -> u64 {
        match self {
            Self::Files { target, .. } => target.stored_bytes(),
            Self::Stream { stream, .. } => stream.stored_bytes(),
        }
    }

    /// Files of the tablet's, or objects of a stream, whose files nobody knows before.
    pub fn files(&self) -> u64 {
        match self {
            Self::Files { target, .. } => target.files.len() as u64,
            Self::Stream { stream, .. } => stream.objects.len() as u64,
        }
    }
}

/// A search for a backup that can be restored onto one tablet.
pub struct Pick<'a> {
    storage: &'a BackupStorage,
    shard: &'a KeyspaceShard,
    options: &'a RestoreOptions,
    monitor: &'a dyn Monitor,
    layout: Layout,
    /// Of the mysqld that is to start on the data, when known.
    version: Option<String>,
    /// Found damaged in this run, newest first.
    damaged: Vec<Damage>,
}

struct Damage {
    name: String,
    cause: String,
}

impl<'a> Pick<'a> {
    pub fn new(
        storage: &'a BackupStorage,
        shard: &'a KeyspaceShard,
        options: &'a RestoreOptions,
        monitor: &'a dyn Monitor,
        layout: Layout,
        version: Option<String>,
    ) -> Self {
        Self { storage, shard, options, monitor, layout, version, damaged: Vec::new() }
    }

    /// The backup to restore, with everything checked that can be known before data is touched; `None`: there is none.
    ///
    /// # Errors
    /// `BackupDamaged` for one that is, unless `fallback` takes the next; what is wrong with a named one; `NoSpace`.
    pub async fn next(&mut self) -> Result<Option<Picked>, EngineError> {
        loop {
            let Some(chosen) = self.choose().await? else { return Ok(None) };
            if let Some(newer) = chosen.passed_over.iter().find(|newer| self.was_good_once(newer)).cloned() {
                self.set_aside(&newer.name.clone(), EngineError::BackupUnusable(newer)).await?;
                continue;
            }
            let name = chosen.handle.name().to_owned();
            match self.examine(chosen).await {
                Ok(picked) => {
                    self.monitor.note(&format!("restoring backup {name} of {}", self.shard));
                    return Ok(Some(picked));
                }
                Err(error) => self.set_aside(&name, error).await?,
            }
        }
    }

    /// This backup failed: `Ok` when [`Self::next`] may look for an older one.
    ///
    /// # Errors
    /// The failure itself, and when it is damage what else there would be.
    pub async fn set_aside(&mut self, name: &str, error: EngineError) -> Result<(), EngineError> {
        if !error.is_damage() || matches!(self.options.wanted, Wanted::Named(_)) {
            return Err(error);
        }
        self.damaged.push(Damage { name: name.to_owned(), cause: error.to_string() });
        let older = match self.choose().await {
            Ok(chosen) => chosen.map(|chosen| chosen.handle.name().to_owned()),
            Err(EngineError::NoCompleteBackup { .. }) => None,
            Err(trouble) => {
                self.monitor.note(&format!("cannot look for an older backup: {trouble}"));
                return Err(error);
            }
        };
        if !self.options.fallback || older.is_none() {
            return Err(EngineError::BackupDamaged { cause: Box::new(error), older });
        }
        self.monitor.note(&format!("backup {name} is damaged, falling back to an older one: {error}"));
        Ok(())
    }

    /// What a person should know about the choice.
    pub fn warnings(&self, picked: &Picked) -> Vec<String> {
        let Chosen { handle, manifest, passed_over } = &picked.chosen;
        let passed_over = passed_over.iter().map(|one| format!("passed over {one}"));
        let lacks = target::not_carried(manifest).map(|what| format!("the backup does not have everything: {what}"));
        let damaged = self.damaged.iter().map(|Damage { name, cause }| {
            format!("backup {name} is damaged ({cause}): the older backup {} was restored instead", handle.name())
        });
        passed_over.chain(lacks).chain(damaged).collect()
    }

    /// A MANIFEST is written last and at once: one that does not decode was damaged later. A stray directory, or one that
    /// is too new for the time asked for, is none of our business.
    fn was_good_once(&self, passed_over: &PassedOver) -> bool {
        let PassedOver { name, why } = passed_over;
        let in_time = name::time_of(name).is_some_and(|time| match self.options.wanted {
            Wanted::AtOrBefore(limit) => time <= limit,
            Wanted::Latest | Wanted::Named(_) => true,
        });
        in_time && matches!(why, Why::ManifestUnreadable(_))
    }

    async fn choose(&self) -> Result<Option<Chosen>, EngineError> {
        let but: Vec<&str> = self.damaged.iter().map(|damage| damage.name.as_str()).collect();
        choose(self.storage, self.shard, self.options, self.version.as_deref(), &but).await
    }

    async fn examine(&self, chosen: Chosen) -> Result<Picked, EngineError> {
        let name = chosen.handle.name();
        if let Method::Xtrabackup(part) = &chosen.manifest.method {
            let content = self.examine_stream(&chosen, part).await?;
            return Ok(Picked { chosen, content });
        }
        let builtin = target::builtin_of(name, &chosen.manifest)?;
        if let Some(server) = self.version.as_deref().and_then(|version| ServerVersion::parse(version).ok()) {
            target::check_redo_log(name, builtin, &server)?;
        }
        let Builtin { compression_engine: engine, skip_compress, external_decompressor, file_entries: _ } = builtin;
        let decompressor = self.decompressor(external_decompressor);
        let decompression = target::decompression(name, engine, *skip_compress, decompressor)?;
        let objects = chosen.handle.objects().await?;
        let target = target::plan(name, &chosen.manifest, &objects, &self.layout)?;
        space::check(&self.layout, &target)?;
        Ok(Picked { chosen, content: Content::Files { target, decompression } })
    }

    async fn examine_stream(&self, chosen: &Chosen, part: &Xtrabackup) -> Result<Content, EngineError> {
        let (options, decompressor) = (&self.options.xtrabackup, self.decompressor(&part.external_decompressor));
        let (name, objects) = (chosen.handle.name(), chosen.handle.objects().await?);
        let stream = StoredStream::plan(name, &chosen.manifest, part, &objects, options.stream_mode, decompressor)?;
        // Without the programs nothing may go.
        let tools = Tools::find(options, stream.mode)?;
        space::check_bytes(&self.layout, &xtrabackup::directory(&self.layout), stream.stored_bytes())?;
        Ok(Content::Stream { stream, tools })
    }

    /// The operator's command, or the MANIFEST's where the operator opted in.
    fn decompressor<'b>(&'b self, of_manifest: &'b str) -> Option<&'b str> {
        let opted_in = self.options.external_decompressor_use_manifest && !of_manifest.is_empty();
        self.options.external_decompressor.as_deref().or(opted_in.then_some(of_manifest))
    }
}

/// Chooses a backup by its MANIFEST alone; `server` is the version that it must fit, when known.
pub async fn choose(
    storage: &BackupStorage,
    shard: &KeyspaceShard,
    options: &RestoreOptions,
    server: Option<&str>,
    but: &[&str],
) -> Result<Option<Chosen>, EngineError> {
    let rule = |facts: &Facts| match server {
        Some(server) => {
            check_compatible(&facts.mysql_version, server, facts.upgrade_safe).map_err(|why| why.to_string())
        }
        None => Ok(()),
    };
    catalogue::choose(storage, shard, &options.wanted, &options.allowed_engines, &rule, but).await
}

//! What the xtrabackup engine takes besides: one part for backups, another for restores.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// What a backup by the xtrabackup engine takes besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(
    "!has(self.stripeBlockSize) || self.stripeBlockSize >= 1024",
    "xtrabackup.stripeBlockSize is too small: the stream is dealt to stripes in blocks of at least 1024 bytes; write 1024 or more, or remove it for 102400",
)]))]
pub struct XtrabackupOptions {
    /// The MySQL user that XtraBackup logs in as, over the tablet's own socket and without a password: it has to be
    /// identified by auth_socket, and needs the privileges that docs/xtrabackup.md lists. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub user: Option<String>,
    /// How XtraBackup writes its stream. xbstream, the default; tar is XtraBackup 2.4's only, for MySQL 5.7. (Vitess's
    /// default is tar.)
    pub stream_mode: StreamMode,
    /// The directory of the tablet's image that has xtrabackup and xbstream. Default: they are looked for in PATH.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::program_directory")]
    pub root_path: Option<String>,
    /// More arguments for `xtrabackup --backup`, split as a shell would split them, such as --no-server-version-check.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub backup_flags: Option<String>,
    /// How many objects the stream is dealt to, each compressed and stored by itself, so that one stream keeps several
    /// cores busy. Default: one object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub stripes: Option<i32>,
    /// How many bytes of the stream go to one stripe before the next one's turn: 1024 at least. Default 102400, as in
    /// Vitess.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stripe_block_size: Option<i32>,
}

/// What a restore of a backup that the xtrabackup engine made takes besides. It says nothing to other backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct XtrabackupRestoreOptions {
    /// The directory of the tablet's image that has xtrabackup and xbstream. Default: they are looked for in PATH.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::program_directory")]
    pub root_path: Option<String>,
    /// How the stream was written, for a backup whose MANIFEST does not say (Vitess before 5). Default xbstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_mode: Option<StreamMode>,
    /// More arguments for `xtrabackup --prepare`, split as a shell would split them, such as --use-memory=1G.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub prepare_flags: Option<String>,
    /// More arguments for `xbstream -x`, split as a shell would split them: --decompress for a backup that XtraBackup
    /// itself compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub restore_flags: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StreamMode {
    #[default]
    Xbstream,
    Tar,
}

# What a new MariaDB tablet has before it replicates (--init-db-sql-file); Vitess's own init_db.sql is MySQL's only. One
# statement a line: mysqlctld feeds them to the client. Nothing of it may be replicated, since each tablet does it.
SET sql_log_bin = 0;
DELETE FROM mysql.global_priv WHERE User = '';
FLUSH PRIVILEGES;
DROP DATABASE IF EXISTS test;
# Vitess's own users.
CREATE USER 'vt_dba'@'localhost';
GRANT ALL ON *.* TO 'vt_dba'@'localhost' WITH GRANT OPTION;
CREATE USER 'vt_app'@'localhost';
GRANT ALL ON *.* TO 'vt_app'@'localhost';
CREATE USER 'vt_allprivs'@'localhost';
GRANT ALL ON *.* TO 'vt_allprivs'@'localhost';
CREATE USER 'vt_filtered'@'localhost';
GRANT ALL ON *.* TO 'vt_filtered'@'localhost';
CREATE USER 'vt_repl'@'%';
GRANT REPLICATION SLAVE ON *.* TO 'vt_repl'@'%';
# As whom mariabackup logs in. MariaDB 10.11 cannot map a socket's user to another name, so it has no password.
CREATE USER 'xtrabackup'@'localhost';
GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, SLAVE MONITOR ON *.* TO 'xtrabackup'@'localhost';
FLUSH PRIVILEGES;
SET sql_log_bin = 1;

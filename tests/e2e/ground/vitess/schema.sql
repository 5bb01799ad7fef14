create table if not exists customer (
  customer_id bigint not null auto_increment, email varchar(128) not null, name varchar(64) not null, notes text,
  created datetime(6) not null default current_timestamp(6),
  primary key (customer_id), unique key email_idx (email)
) engine = InnoDB;
create table if not exists product (sku varchar(64) not null, description varchar(255), price bigint not null, primary key (sku)) engine = InnoDB;
create table if not exists corder (
  order_id bigint not null auto_increment, customer_id bigint not null, sku varchar(64) not null, quantity int not null, price bigint not null,
  total bigint generated always as (quantity * price) stored, label varchar(96) generated always as (concat(sku, ' x ', quantity)) virtual,
  placed datetime(6) not null default current_timestamp(6),
  primary key (order_id), key customer_idx (customer_id), key total_idx (total)
) engine = InnoDB;
create table if not exists attachment (attachment_id bigint not null auto_increment, content mediumblob not null, primary key (attachment_id)) engine = InnoDB;
create table if not exists event (
  event_id bigint not null auto_increment, kind varchar(32) not null, happened datetime not null, detail varchar(255),
  primary key (event_id, happened)
) engine = InnoDB partition by range (to_days(happened)) (
  partition p2025 values less than (to_days('2026-01-01')), partition p2026 values less than (to_days('2027-01-01')), partition later values less than maxvalue);

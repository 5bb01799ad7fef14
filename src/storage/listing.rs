//! Listings without what cannot be named.
//!
//! Anybody may put anything into a bucket. `object_store` fails with a whole listing when one name in it has an empty part, a
//! `..` or a control character, and so one stray would hide every backup. Here such names are taken out of the answer before it
//! reads it: they are not Vitess's, not ours, and nothing can be read or removed under them.

use std::borrow::Cow;

use bytes::Bytes;
use http::Uri;
use object_store::path::Path;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// What stands for one name in a listing of S3, Ceph and GCS, and in one of Azure; and the element in it that has the name.
static ENTRIES: [(&[u8], &[u8]); 4] =
    [(b"Contents", b"Key"), (b"CommonPrefixes", b"Prefix"), (b"Blob", b"Name"), (b"BlobPrefix", b"Name")];

/// Whether the answer to a GET of this address is a listing.
pub(super) fn is_asked_for(address: &Uri) -> bool {
    let asked = address.query().unwrap_or_default();
    asked.split('&').any(|part| part == "list-type=2" || part == "comp=list")
}

/// The listing without the entries whose names no [`Path`] can hold. What is no XML stays as it is, for others to judge.
pub(super) fn of_what_can_be_named(listing: Bytes) -> Bytes {
    let Some(strays) = strays(&listing) else { return listing };
    if strays.is_empty() {
        return listing;
    }
    let (mut kept, mut from) = (Vec::with_capacity(listing.len()), 0);
    for Stray { name, begin, end } in strays {
        tracing::warn!(%name, "passing over a stray in storage: nothing can be read or removed under its name");
        kept.extend_from_slice(&listing[from..begin]);
        from = end;
    }
    kept.extend_from_slice(&listing[from..]);
    kept.into()
}

#[derive(Debug, PartialEq, Eq)]
struct Stray {
    name: String,
    /// Where its entry begins and ends in the listing, in bytes.
    begin: usize,
    end: usize,
}

/// The entry that is being read.
struct Entry<'a> {
    begin: usize,
    element: &'a [u8],
    name_element: &'a [u8],
    in_name: bool,
    name: String,
}

/// In their order; nothing when the text is no XML.
fn strays(listing: &[u8]) -> Option<Vec<Stray>> {
    let mut reader = Reader::from_reader(listing);
    let mut strays = Vec::new();
    let mut entry: Option<Entry<'_>> = None;
    loop {
        let begin = usize::try_from(reader.buffer_position()).ok()?;
        let event = reader.read_event().ok()?;
        let end = usize::try_from(reader.buffer_position()).ok()?;
        match (&mut entry, event) {
            (_, Event::Eof) => return Some(strays),
            (None, Event::Start(element)) => {
                let known = ENTRIES.iter().find(|(known, _)| *known == element.local_name().as_ref());
                entry = known.map(|&(element, name_element)| Entry {
                    begin,
                    element,
                    name_element,
                    in_name: false,
                    name: String::new(),
                });
            }
            (Some(entry), Event::Start(element)) => entry.in_name = element.local_name().as_ref() == entry.name_element,
            (Some(entry), Event::Text(text)) if entry.in_name => entry.name += &text.decode().ok()?,
            (Some(entry), Event::CData(text)) if entry.in_name => entry.name += &text.decode().ok()?,
            (Some(entry), Event::GeneralRef(reference)) if entry.in_name => {
                let character = reference.resolve_char_ref().ok().flatten();
                entry.name += &match character {
                    Some(character) => Cow::Owned(character.to_string()),
                    // One that XML does not have could only be a stray's.
                    None => resolve_predefined_entity(&reference.decode().ok()?).map_or("\0".into(), Cow::Borrowed),
                };
            }
            (Some(open), Event::End(element)) => {
                open.in_name = false;
                if element.local_name().as_ref() == open.element
                    && let Some(Entry { begin, name, .. }) = entry.take()
                    && Path::parse(&name).is_err()
                {
                    strays.push(Stray { name: name.escape_debug().to_string(), begin, end });
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(listing: &str) -> String {
        String::from_utf8(of_what_can_be_named(Bytes::copy_from_slice(listing.as_bytes())).to_vec()).unwrap()
    }

    #[test]
    fn strays_are_taken_out_of_a_listing_of_s3_and_all_else_stays_byte_for_byte() {
        let entry =
            |key: &str| format!("<Contents>\n<Key>{key}</Key><Size>1</Size><Owner><ID>a//b</ID></Owner></Contents>");
        let prefix = |name: &str| format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>");
        let of = |entries: &str| {
            format!(
                "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\"><Prefix>a//</Prefix>{entries}</ListBucketResult>"
            )
        };
        let good = [entry("a/b"), entry("a/b/"), entry("a/ &amp;&lt; é%41#{}"), prefix("a/c/")].concat();
        assert_eq!(kept(&of(&good)), of(&good));
        let strays = ["a//b", "a/../b", "./a", "a/&#x1;", "a&#10;b", "a/&nothing;", "a/b//"];
        for stray in strays {
            let listing = of(&[prefix(stray), good.clone(), entry(stray)].concat());
            assert_eq!(kept(&listing), of(&good), "{stray}");
        }
        assert_eq!(kept(&of(&strays.map(entry).concat())), of(""));
    }

    #[test]
    fn strays_are_taken_out_of_a_listing_of_azure() {
        let of =
            |entries: &str| format!("<EnumerationResults><Blobs>{entries}</Blobs><NextMarker /></EnumerationResults>");
        let good = "<Blob><Name>a/b</Name><Properties><Etag>//</Etag></Properties></Blob><BlobPrefix><Name>a/c/</Name></BlobPrefix>";
        let stray = "<Blob><Name>a//b</Name><Properties /></Blob><BlobPrefix><Name>a//</Name></BlobPrefix>";
        assert_eq!(kept(&of(&format!("{stray}{good}"))), of(good));
    }

    #[test]
    fn what_is_no_xml_stays() {
        for text in ["", "no xml", "<a><b></a>", "<Contents><Key>a//b"] {
            assert_eq!(kept(text), text);
        }
    }

    #[test]
    fn a_listing_is_known_by_its_address() {
        let is = |address: &str| is_asked_for(&address.parse().unwrap());
        assert!(
            is("http://h/bucket?delimiter=%2F&list-type=2&prefix=a") && is("http://h/c?restype=container&comp=list")
        );
        assert!(
            !is("http://h/bucket/list-type=2") && !is("http://h/b?uploads=") && !is("http://h/b?prefix=comp%3Dlist")
        );
    }
}

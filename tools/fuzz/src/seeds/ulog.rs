//! A small PX4 log, message by message.
//!
//! **Invariant:** it has a message of every kind.

/// Returns a log.
pub(super) fn file() -> Vec<u8> {
    let mut bytes = [&b"ULog\x01\x12\x35\x01"[..], &7_u64.to_le_bytes()].concat();
    bytes.extend(message(b'B', &[0; 40]));
    bytes.extend(message(b'F', b"imu:uint64_t timestamp;uint32_t number;c inner;uint8_t[4] _padding0;"));
    bytes.extend(message(b'F', b"c:float x;char[4] name;"));
    bytes.extend(message(b'F', b"sensor_gps:uint64_t timestamp;uint64_t time_utc_usec;uint8_t fix_type;"));
    bytes.extend(message(b'I', &entry(b"char[3] sys_name", b"PX4")));
    bytes.extend(message(b'M', &[b"\0", &entry(b"char[2] part", b"ab")[..]].concat()));
    bytes.extend(message(b'M', &[b"\x01", &entry(b"char[2] part", b"cd")[..]].concat()));
    bytes.extend(message(b'P', &entry(b"float GAIN", &0.5_f32.to_le_bytes())));
    bytes.extend(message(b'Q', &[b"\x01", &entry(b"int32_t MODE", &[1, 0, 0, 0])[..]].concat()));
    for (instance, id) in [(0, 3), (1, 9)] {
        bytes.extend(message(b'A', &[&[instance, id, 0][..], b"imu"].concat()));
    }
    bytes.extend(message(b'A', &[&[0, 4, 0][..], b"sensor_gps"].concat()));
    for number in 0..12_u32 {
        let id = if number % 2 == 0 { 3 } else { 9 };
        let time = u64::from(number * 1000).to_le_bytes();
        bytes.extend(message(b'D', &[&[id, 0][..], &time, &number.to_le_bytes(), &1.5_f32.to_le_bytes(), b"name"].concat()));
    }
    bytes.extend(message(b'D', &[&[4, 0][..], &13_000_u64.to_le_bytes(), &1_600_000_000_000_000_u64.to_le_bytes(), &[3]].concat()));
    bytes.extend(message(b'S', &[0x2f, 0x73, 0x13, 0x20, 0x25, 0x0c, 0xbb, 0x12]));
    bytes.extend(message(b'L', &[b"6", &14_000_u64.to_le_bytes()[..], b"hello"].concat()));
    bytes.extend(message(b'C', &[b"6\x01\0", &15_000_u64.to_le_bytes()[..], b"hello"].concat()));
    bytes.extend(message(b'O', &[30, 0]));
    bytes.extend(message(b'P', &entry(b"float GAIN", &0.7_f32.to_le_bytes())));
    bytes.extend(message(b'R', &[9, 0]));
    bytes
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u16).to_le_bytes()[..], &[kind], body].concat()
}

fn entry(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&[key.len() as u8][..], key, value].concat()
}

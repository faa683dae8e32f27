use super::*;

fn disk() -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::new(Random::new(1));
    let mount = disk.mount();
    (disk, mount)
}

fn write(mount: &dyn Disk, path: &str, content: &[u8], sync: bool) {
    let mut file = mount.create(Path::new(path)).unwrap();
    file.append(&[content]).unwrap();
    if sync {
        file.syncer().unwrap().sync().unwrap();
    }
}

#[test]
fn what_was_not_synced_is_gone_after_a_power_cut() {
    let (disk, mount) = disk();
    write(&*mount, "/a/synced", b"kept", true);
    write(&*mount, "/a/unsynced", b"lost", false);
    mount.sync_folder(Path::new("/a")).unwrap();
    write(&*mount, "/a/unnamed", b"lost", true);
    disk.cut_power(PowerCut::Drop);
    let read = |path: &str| disk.read(Path::new(path));
    assert_eq!(read("/a/synced").as_deref(), Some(&b"kept"[..]));
    assert_eq!(read("/a/unsynced").as_deref(), Some(&b""[..]));
    assert_eq!(read("/a/unnamed"), None);
}

#[test]
fn everything_stays_when_only_the_process_ends() {
    let (disk, mount) = disk();
    let mut file = mount.create(Path::new("/a/b")).unwrap();
    file.append(&[b"x", b"y"]).unwrap();
    disk.kill();
    assert!(file.append(&[b"z"]).is_err());
    assert_eq!(disk.read(Path::new("/a/b")).as_deref(), Some(&b"xy"[..]));
}

#[test]
fn a_rename_leaves_the_old_or_the_new_file() {
    for seed in 0..50 {
        let disk = SimDisk::new(Random::new(seed));
        let mount = disk.mount();
        write(&*mount, "/a/file", b"old", true);
        mount.sync_folder(Path::new("/a")).unwrap();
        write(&*mount, "/a/part", b"new", true);
        mount.rename(Path::new("/a/part"), Path::new("/a/file")).unwrap();
        disk.cut_power(PowerCut::Mixed);
        let content = disk.read(Path::new("/a/file")).unwrap();
        assert!(content == b"old" || content == b"new", "seed {seed}: {content:?}");
    }
}

#[test]
fn torn_files_keep_what_was_synced() {
    for seed in 0..50 {
        let disk = SimDisk::new(Random::new(seed));
        let mount = disk.mount();
        let mut file = mount.create(Path::new("/a/b")).unwrap();
        file.append(&[&[1; 700]]).unwrap();
        file.syncer().unwrap().sync().unwrap();
        mount.sync_folder(Path::new("/a")).unwrap();
        file.append(&[&[2; 9000]]).unwrap();
        disk.cut_power(PowerCut::Torn);
        let content = disk.read(Path::new("/a/b")).unwrap();
        assert_eq!(content[..700], [1; 700]);
        assert!(content[700..].iter().all(|byte| [0, 2].contains(byte)));
    }
}

#[test]
fn a_failed_sync_loses_what_it_should_have_synced() {
    let (disk, mount) = disk();
    let mut file = mount.create(Path::new("/a/b")).unwrap();
    file.append(&[b"ab"]).unwrap();
    mount.sync_folder(Path::new("/a")).unwrap();
    disk.add_failure(Failure::next(Operation::Sync));
    assert!(file.syncer().unwrap().sync().is_err());
    file.append(&[b"cd"]).unwrap();
    file.syncer().unwrap().sync().unwrap();
    assert_eq!(disk.read(Path::new("/a/b")).as_deref(), Some(&b"abcd"[..]));
    disk.cut_power(PowerCut::Drop);
    assert_eq!(disk.read(Path::new("/a/b")).as_deref(), Some(&b"\0\0cd"[..]));
}

#[test]
fn a_full_disk_takes_what_fits() {
    let (disk, mount) = disk();
    disk.set_capacity(5);
    let mut file = mount.create(Path::new("/a/b")).unwrap();
    assert_eq!(file.append(&[b"1234567"]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!((disk.used_bytes(), mount.space(Path::new("/a")).unwrap()), (5, (0, 5)));
    mount.remove(Path::new("/a/b")).unwrap();
    assert_eq!(disk.used_bytes(), 0);
    disk.heal();
    disk.set_read_only(true);
    assert_eq!(mount.create(Path::new("/a/c")).map(|_| ()).unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(disk.failed(), BTreeMap::from([(Operation::Create, 1), (Operation::Full, 1)]));
}

package main

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/vmware/govmomi/vim25/types"
)

// A track is what changed-block tracking counts in: a difference makes all of its bytes changed.
const track = 64 << 10

// content is a digest for each track of a disk; a track that is not allocated has none.
type content map[int64][sha256.Size]byte

// disk is a virtual disk: a chain of files, each with all of its content (copied, not layered: simple, and honest about
// what a snapshot shows). The last file is the running machine's, the others belong to snapshots, oldest first.
type disk struct {
	folder  string // of the datastore
	store   string // its name
	files   []string
	uuid    string // of the tracking, new after a reset
	number  int64
	active  bool               // changes are tracked
	history map[string]content // changeId -> content at that time
	next    int
}

func newDisk(folder, store, file string, size int64) *disk {
	d := &disk{folder: folder, store: store, files: []string{file}, history: map[string]content{}, uuid: newUUID()}
	if info, err := os.Stat(d.local(file)); err != nil || info.Size() == 0 {
		writeDescriptor(d.local(file), size)
		check(os.Truncate(flat(d.local(file)), size))
	}
	return d
}

func newUUID() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:])
	parts := make([]string, len(raw))
	for i, b := range raw {
		parts[i] = fmt.Sprintf("%02x", b)
	}
	return strings.Join(parts[:8], " ") + "-" + strings.Join(parts[8:], " ")
}

func (d *disk) local(file string) string { return filepath.Join(d.folder, file) }

func (d *disk) backing(file string) string { return fmt.Sprintf("[%s] %s", d.store, file) }

func (d *disk) running() string { return d.files[len(d.files)-1] }

func flat(path string) string { return strings.TrimSuffix(path, ".vmdk") + "-flat.vmdk" }

// writeDescriptor makes the text file that ESXi has beside the data.
func writeDescriptor(path string, size int64) {
	text := fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=ffffffff\ncreateType=\"vmfs\"\n\n"+
		"# Extent description\nRW %d VMFS \"%s\"\n\n# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\n"+
		"ddb.virtualHWVersion = \"13\"\n", 0xfffffffe, size/512, filepath.Base(flat(path)))
	check(os.WriteFile(path, []byte(text), 0o600))
}

// follow begins or ends tracking as it is wanted, at the time of a snapshot; true: the snapshot has a changeId. With
// snapshots from before nothing begins. late: it begins after this snapshot.
func (d *disk) follow(wanted, late bool) bool {
	if !wanted || d.active {
		d.active = wanted
		return wanted
	}
	if len(d.files) > 1 {
		return false
	}
	d.reset()
	d.active = true
	return !late
}

// freeze ends the running file, which a snapshot has from now on, and lets the machine go on in a copy.
func (d *disk) freeze() string {
	frozen := d.running()
	d.next++
	file := fmt.Sprintf("%s-%06d.vmdk", strings.TrimSuffix(d.files[0], ".vmdk"), d.next)
	check(exec.Command("cp", "--sparse=always", flat(d.local(frozen)), flat(d.local(file))).Run())
	writeDescriptor(d.local(file), d.size())
	d.files = append(d.files, file)
	return frozen
}

func (d *disk) changeID() string { return fmt.Sprintf("%s/%d", d.uuid, d.number) }

// remember notes the content of a frozen file; it returns the new changeId for it.
func (d *disk) remember(frozen string) string {
	d.number++
	d.history[d.changeID()] = read(flat(d.local(frozen)))
	return d.changeID()
}

// drop removes a snapshot's file; the one behind it takes its name, as consolidation has it.
func (d *disk) drop(file string) {
	for i, one := range d.files[:len(d.files)-1] {
		if one != file {
			continue
		}
		next := d.files[i+1]
		check(os.Rename(flat(d.local(next)), flat(d.local(file))))
		check(os.Remove(d.local(next)))
		writeDescriptor(d.local(file), d.sizeOf(file))
		d.files = append(d.files[:i+1], d.files[i+2:]...)
		return
	}
}

func (d *disk) size() int64 { return d.sizeOf(d.running()) }

func (d *disk) sizeOf(file string) int64 {
	info, err := os.Stat(flat(d.local(file)))
	check(err)
	return info.Size()
}

// grow makes the running disk larger.
func (d *disk) grow(size int64) {
	check(os.Truncate(flat(d.local(d.running())), size))
	writeDescriptor(d.local(d.running()), size)
}

// reset begins tracking anew, as a crash of the host does.
func (d *disk) reset() {
	d.uuid, d.number = newUUID(), 0
	d.history = map[string]content{}
}

// changed returns the areas in which two states differ, in order; since "*": what is allocated.
func (d *disk) changed(since, until string, size int64) ([]types.DiskChangeExtent, bool) {
	now, ok := d.history[until]
	if !ok {
		return nil, false
	}
	before := content{}
	if since != "*" {
		if before, ok = d.history[since]; !ok {
			return nil, false
		}
	}
	var areas []types.DiskChangeExtent
	for start := int64(0); start < size; start += track {
		one, there := now[start/track]
		other, was := before[start/track]
		if there == was && one == other {
			continue
		}
		length := min(track, size-start)
		if last := len(areas) - 1; last >= 0 && areas[last].Start+areas[last].Length == start {
			areas[last].Length += length
		} else {
			areas = append(areas, types.DiskChangeExtent{Start: start, Length: length})
		}
	}
	return areas, true
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

// sequence returns the number in a changeId, and its UUID.
func sequence(id string) (string, int64, bool) {
	uuid, text, ok := strings.Cut(id, "/")
	number, err := strconv.ParseInt(text, 10, 64)
	return uuid, number, ok && err == nil
}

const seekData, seekHole = 3, 4

// read digests what is allocated of a file.
func read(path string) content {
	file, err := os.Open(path)
	check(err)
	defer file.Close()
	info, err := file.Stat()
	check(err)
	found := content{}
	for offset := int64(0); offset < info.Size(); {
		start, err := syscall.Seek(int(file.Fd()), offset, seekData)
		if err != nil {
			break // no data from here on
		}
		end, err := syscall.Seek(int(file.Fd()), start, seekHole)
		check(err)
		for place := start / track * track; place < end; place += track {
			buffer := make([]byte, min(track, info.Size()-place))
			_, err := file.ReadAt(buffer, place)
			if err != nil && err != io.EOF {
				check(err)
			}
			found[place/track] = sha256.Sum256(buffer)
		}
		offset = end
	}
	return found
}

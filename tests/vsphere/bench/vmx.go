package main

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// place returns where the configuration file is, as the datastore and the path in it.
func (m *machine) place() object.DatastorePath {
	var place object.DatastorePath
	place.FromString(m.Config.Files.VmPathName)
	return place
}

// local returns the path of the configuration file here, or of a file beside it with another suffix.
func (m *machine) local(suffix string) string {
	place := m.place()
	store := datastore(place.Datastore)
	return strings.TrimSuffix(filepath.Join(folderOf(store.Self), place.Path), ".vmx") + suffix
}

// datastore returns a datastore by name.
func datastore(name string) *simulator.Datastore {
	for _, entity := range simulator.Map.All("Datastore") {
		if found, ok := entity.(*simulator.Datastore); ok && found.Name == name {
			return found
		}
	}
	return nil
}

// bus returns the name of a disk's place in the configuration file, as scsi0:1.
func (m *machine) bus(found *types.VirtualDisk) (string, string) {
	kind, number := "scsi", int32(0)
	devices := object.VirtualDeviceList(m.Config.Hardware.Device)
	switch controller := devices.FindByKey(found.ControllerKey).(type) {
	case *types.VirtualIDEController:
		kind, number = "ide", controller.BusNumber
	case types.BaseVirtualSATAController:
		kind, number = "sata", controller.GetVirtualSATAController().BusNumber
	case *types.VirtualNVMEController:
		kind, number = "nvme", controller.BusNumber
	case types.BaseVirtualSCSIController:
		number = controller.GetVirtualSCSIController().BusNumber
	}
	unit := int32(0)
	if found.UnitNumber != nil {
		unit = *found.UnitNumber
	}
	bus := fmt.Sprintf("%s%d", kind, number)
	return bus, fmt.Sprintf("%s:%d", bus, unit)
}

// vmx is the configuration as a file.
func (m *machine) vmx() []byte {
	var text bytes.Buffer
	put := func(key string, value interface{}) { fmt.Fprintf(&text, "%s = \"%v\"\n", key, value) }
	put(".encoding", "UTF-8")
	put("config.version", 8)
	put("virtualHW.version", strings.TrimLeft(strings.TrimPrefix(m.Config.Version, "vmx-"), "0"))
	put("displayName", m.Config.Name)
	put("guestOS", m.Config.GuestId)
	put("firmware", m.Config.Firmware)
	put("memSize", m.Config.Hardware.MemoryMB)
	put("numvcpus", m.Config.Hardware.NumCPU)
	put("uuid.bios", m.Config.Uuid)
	put("nvram", path.Base(m.local(".nvram")))
	if m.tracked() {
		put("ctkEnabled", "TRUE")
	}
	buses := map[string]bool{}
	folder := path.Dir(m.place().Path)
	for _, found := range virtualDisks(m.Config.Hardware.Device) {
		bus, at := m.bus(found)
		if !buses[bus] {
			buses[bus] = true
			put(bus+".present", "TRUE")
		}
		var file object.DatastorePath
		file.FromString(backingOf(found).FileName)
		put(at+".present", "TRUE")
		put(at+".mode", backingOf(found).DiskMode)
		if path.Dir(file.Path) == folder {
			put(at+".fileName", path.Base(file.Path))
		} else {
			put(at+".fileName", path.Join("/vmfs/volumes", file.Datastore, file.Path))
		}
		if m.tracked() {
			put(at+".ctkEnabled", "TRUE")
		}
	}
	return text.Bytes()
}

// writeVmx brings the configuration file up to date, but not one that somebody else wrote.
func (m *machine) writeVmx() {
	text, err := os.ReadFile(m.local(".vmx"))
	if err != nil || !bytes.Equal(text, m.written) {
		return
	}
	m.written = m.vmx()
	check(os.WriteFile(m.local(".vmx"), m.written, 0o600))
}

var (
	vmxLine = regexp.MustCompile(`(?m)^\s*([\w.:]+)\s*=\s*"([^"]*)"`)
	vmxDisk = regexp.MustCompile(`^scsi(\d{1,2}):(\d{1,2})\.filename$`)
	volume  = regexp.MustCompile(`^/vmfs/volumes/([^/]+)/(.+)$`)
)

func sorted(values map[string]string) []string {
	var keys []string
	for key := range values {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

func number(digits string) int32 {
	value, err := strconv.ParseInt(digits, 10, 32)
	check(err)
	return int32(value)
}

// readVmx gives a machine that was registered what its configuration file says; one that was made here has an empty file,
// and gets the contents of a young machine's NVRAM.
func (m *machine) readVmx() {
	text, err := os.ReadFile(m.local(".vmx"))
	if err != nil || len(text) == 0 {
		nvram := append([]byte("MRVN"), bytes.Repeat([]byte(m.Config.Name+"\x00"), 64)...)
		check(os.WriteFile(m.local(".nvram"), nvram, 0o600))
		return
	}
	if len(virtualDisks(m.Config.Hardware.Device)) > 0 {
		return
	}
	values := map[string]string{}
	for _, found := range vmxLine.FindAllStringSubmatch(string(text), -1) {
		values[strings.ToLower(found[1])] = found[2]
	}
	if guest := values["guestos"]; guest != "" {
		m.Config.GuestId, m.Summary.Config.GuestId = guest, guest
	}
	if uuid := values["uuid.bios"]; uuid != "" {
		m.Config.Uuid, m.Summary.Config.Uuid = uuid, uuid
	}
	if value, err := strconv.Atoi(values["memsize"]); err == nil {
		m.Config.Hardware.MemoryMB, m.Summary.Config.MemorySizeMB = int32(value), int32(value)
	}
	if value, err := strconv.Atoi(values["numvcpus"]); err == nil {
		m.Config.Hardware.NumCPU, m.Summary.Config.NumCpu = int32(value), int32(value)
	}
	if values["ctkenabled"] != "" {
		m.Config.ChangeTrackingEnabled = types.NewBool(strings.EqualFold(values["ctkenabled"], "TRUE"))
	}
	m.readDisks(values)
}

// readDisks adds the disks of a configuration file.
func (m *machine) readDisks(values map[string]string) {
	controllers := map[string]int32{}
	for _, key := range sorted(values) {
		found := vmxDisk.FindStringSubmatch(key)
		if found == nil {
			continue
		}
		bus, unit := number(found[1]), number(found[2])
		devices := object.VirtualDeviceList(m.Config.Hardware.Device)
		if _, ok := controllers[found[1]]; !ok {
			one := &types.ParaVirtualSCSIController{}
			one.Key, one.BusNumber = 1000+bus, bus
			one.SharedBus = types.VirtualSCSISharingNoSharing
			controllers[found[1]] = one.Key
			devices = append(devices, one)
		}
		place := object.DatastorePath{Datastore: m.place().Datastore, Path: path.Join(path.Dir(m.place().Path), values[key])}
		if outside := volume.FindStringSubmatch(values[key]); outside != nil {
			place.Datastore, place.Path = outside[1], outside[2]
		}
		store := datastore(place.Datastore)
		if store == nil {
			continue
		}
		disk := &types.VirtualDisk{}
		disk.Key, disk.ControllerKey, disk.UnitNumber = 2000+16*bus+unit, 1000+bus, &unit
		disk.DeviceInfo = &types.Description{Label: fmt.Sprintf("Hard disk %d", len(virtualDisks(devices))+1)}
		backing := &types.VirtualDiskFlatVer2BackingInfo{DiskMode: values[strings.TrimSuffix(key, "filename")+"mode"]}
		backing.FileName, backing.Datastore = place.String(), &store.Self
		disk.Backing = backing
		m.Config.Hardware.Device = append(devices, disk)
		m.Summary.Config.NumVirtualDisks++
	}
}

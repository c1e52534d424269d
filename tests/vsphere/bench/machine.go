package main

import (
	"sync"
	"sync/atomic"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// machine is a virtual machine whose disks are files, and whose snapshots keep their content.
type machine struct {
	simulator.VirtualMachine
	disks     map[int32]*disk     // by device key
	snapshots []*snapshot         // oldest first; nobody here reverts, so each is the child of the one before
	locks     map[string][]string // by source: the methods that it has disabled
	busy      atomic.Bool         // a task runs
	written   []byte              // the configuration file, as it was written here
	mu        sync.Mutex
	writes    int       // of the guest, under way
	idle      sync.Cond // there are none
}

// Lock and Unlock are how the simulator locks a machine.
func (m *machine) Lock() { m.mu.Lock() }

// Unlock is the other one.
func (m *machine) Unlock() { m.mu.Unlock() }

// stunned runs what must not meet a write of the guest. While it waits for the guest, others may have the machine.
func (m *machine) stunned(run func()) {
	for m.writes > 0 {
		m.idle.Wait()
	}
	run()
}

func newMachine(vm *simulator.VirtualMachine) *machine {
	m := &machine{VirtualMachine: *vm, disks: map[int32]*disk{}}
	m.idle.L = m
	m.Capability.ChangeTrackingSupported = types.NewBool(true)
	m.readVmx()
	m.attach()
	m.show()
	return m
}

func virtualDisks(devices object.VirtualDeviceList) []*types.VirtualDisk {
	var found []*types.VirtualDisk
	for _, device := range devices {
		if one, ok := device.(*types.VirtualDisk); ok {
			if _, ok := one.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				found = append(found, one)
			}
		}
	}
	return found
}

func backingOf(d *types.VirtualDisk) *types.VirtualDiskFlatVer2BackingInfo {
	return d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
}

// attach makes the disks follow the configuration: it has new ones, others are gone or larger.
func (m *machine) attach() {
	there := map[int32]bool{}
	for _, found := range virtualDisks(m.Config.Hardware.Device) {
		there[found.Key] = true
		backing := backingOf(found)
		size := found.CapacityInBytes
		if size == 0 {
			size = found.CapacityInKB * 1024
		}
		if d := m.disks[found.Key]; d != nil {
			if size > d.size() {
				d.grow(size)
			}
			continue
		}
		var place object.DatastorePath
		place.FromString(backing.FileName)
		m.disks[found.Key] = newDisk(folderOf(*backing.Datastore), place.Datastore, place.Path, size)
		if backing.Uuid == "" {
			backing.Uuid = newUUID()
		}
		if backing.DiskMode == "" {
			backing.DiskMode = string(types.VirtualDiskModePersistent)
		}
	}
	for key := range m.disks {
		if !there[key] {
			delete(m.disks, key)
		}
	}
	if !m.tracked() {
		for _, d := range m.disks {
			d.active = false
		}
	}
}

func folderOf(datastore types.ManagedObjectReference) string {
	return simulator.Map.Get(datastore).(*simulator.Datastore).Info.GetDatastoreInfo().Url
}

// show lets the machine's configuration name the files that it runs on. All that changes is new: others may be reading
// what was there.
func (m *machine) show() {
	config := *m.Config
	config.Hardware.Device = nil
	for _, device := range m.Config.Hardware.Device {
		found, ok := device.(*types.VirtualDisk)
		if !ok || m.disks[found.Key] == nil {
			config.Hardware.Device = append(config.Hardware.Device, device)
			continue
		}
		d, one, backing := m.disks[found.Key], *found, *backingOf(found)
		backing.FileName = d.backing(d.running())
		backing.ChangeId = ""
		if d.active {
			backing.ChangeId = d.changeID()
		}
		backing.Parent = nil
		for _, file := range d.files[:len(d.files)-1] {
			backing.Parent = &types.VirtualDiskFlatVer2BackingInfo{Parent: backing.Parent}
			backing.Parent.FileName = d.backing(file)
		}
		one.Backing = &backing
		one.CapacityInBytes = d.size()
		one.CapacityInKB = d.size() / 1024
		config.Hardware.Device = append(config.Hardware.Device, &one)
	}
	m.Config = &config
	m.writeVmx()
}

// tracked is true if changes are to be tracked.
func (m *machine) tracked() bool {
	return m.Config.ChangeTrackingEnabled != nil && *m.Config.ChangeTrackingEnabled
}

// independent disks are in no snapshot.
func independent(d *types.VirtualDisk) bool {
	mode := backingOf(d).DiskMode
	return mode == string(types.VirtualDiskModeIndependent_persistent) ||
		mode == string(types.VirtualDiskModeIndependent_nonpersistent)
}

// ReconfigVMTask is the simulator's; the disks follow.
func (m *machine) ReconfigVMTask(ctx *simulator.Context, req *types.ReconfigVM_Task) soap.HasFault {
	if fault := m.allowed("ReconfigVM_Task"); fault != nil {
		return &methods.ReconfigVM_TaskBody{Fault_: simulator.Fault("", fault)}
	}
	task := m.start("reconfigVM", func() (types.AnyType, types.BaseMethodFault) {
		body := m.VirtualMachine.ReconfigVMTask(ctx, req).(*methods.ReconfigVM_TaskBody)
		inner := simulator.Map.Get(body.Res.Returnval).(*simulator.Task)
		if inner.Info.Error != nil {
			return nil, inner.Info.Error.Fault
		}
		m.stunned(m.attach)
		m.show()
		return nil, nil
	})
	return &methods.ReconfigVM_TaskBody{Res: &types.ReconfigVM_TaskResponse{Returnval: task}}
}

package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// machine is a virtual machine whose disks are files, and whose snapshots keep their content.
type machine struct {
	simulator.VirtualMachine
	disks map[int32]*disk // by device key
}

// snapshot is one of its snapshots.
type snapshot struct {
	simulator.VirtualMachineSnapshot
	frozen map[int32]string // by device key: the file
	ids    map[int32]string // by device key: the changeId
}

var snapshots int32

func newMachine(vm *simulator.VirtualMachine) *machine {
	m := &machine{VirtualMachine: *vm, disks: map[int32]*disk{}}
	for _, found := range m.virtualDisks(m.Config.Hardware.Device) {
		backing := found.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		var place object.DatastorePath
		place.FromString(backing.FileName)
		folder := simulator.Map.Get(*backing.Datastore).(*simulator.Datastore).Info.GetDatastoreInfo().Url
		if found.CapacityInBytes == 0 {
			found.CapacityInBytes = found.CapacityInKB * 1024
		}
		m.disks[found.Key] = newDisk(folder, place.Datastore, place.Path, found.CapacityInBytes)
		if backing.Uuid == "" {
			backing.Uuid = newUUID()
		}
		if backing.DiskMode == "" {
			backing.DiskMode = string(types.VirtualDiskModePersistent)
		}
	}
	m.Capability.ChangeTrackingSupported = types.NewBool(true)
	m.show()
	return m
}

func (m *machine) virtualDisks(devices object.VirtualDeviceList) []*types.VirtualDisk {
	var found []*types.VirtualDisk
	for _, device := range devices {
		if one, ok := device.(*types.VirtualDisk); ok {
			found = append(found, one)
		}
	}
	return found
}

// show lets the machine's configuration name the files that it runs on.
func (m *machine) show() {
	for _, found := range m.virtualDisks(m.Config.Hardware.Device) {
		if d := m.disks[found.Key]; d != nil {
			backing := found.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			backing.FileName = d.backing(d.running())
			backing.ChangeId = ""
			backing.Parent = nil
			for _, file := range d.files[:len(d.files)-1] {
				backing.Parent = &types.VirtualDiskFlatVer2BackingInfo{Parent: backing.Parent}
				backing.Parent.FileName = d.backing(file)
			}
			found.CapacityInBytes = d.size()
			found.CapacityInKB = d.size() / 1024
		}
	}
}

// tracked is true if changes are tracked.
func (m *machine) tracked() bool {
	return m.Config.ChangeTrackingEnabled != nil && *m.Config.ChangeTrackingEnabled
}

// independent disks are in no snapshot.
func independent(d *types.VirtualDisk) bool {
	mode := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo).DiskMode
	return mode == string(types.VirtualDiskModeIndependent_persistent) ||
		mode == string(types.VirtualDiskModeIndependent_nonpersistent)
}

func (m *machine) CreateSnapshotTask(req *types.CreateSnapshot_Task) soap.HasFault {
	task := simulator.CreateTask(m.Reference(), "createSnapshot", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		faults.wait()
		if faults.take(&faults.TaskInProgress) {
			return nil, &types.TaskInProgress{Task: types.ManagedObjectReference{Type: "Task", Value: "task-0"}}
		}
		if faults.take(&faults.FailSnapshot) {
			return nil, &types.SnapshotFault{}
		}
		if req.Quiesce && faults.take(&faults.FailQuiesce) {
			return nil, &types.ApplicationQuiesceFault{}
		}
		return m.freeze(req).Self, nil
	})
	return &methods.CreateSnapshot_TaskBody{Res: &types.CreateSnapshot_TaskResponse{Returnval: task.Run()}}
}

// freeze makes a snapshot.
func (m *machine) freeze(req *types.CreateSnapshot_Task) *snapshot {
	s := &snapshot{frozen: map[int32]string{}, ids: map[int32]string{}}
	number := atomic.AddInt32(&snapshots, 1)
	s.Self = types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: fmt.Sprintf("snapshot-%d", number)}
	s.Vm = m.Reference()
	s.Config = *m.Config
	s.Config.Hardware.Device = nil
	for _, device := range m.Config.Hardware.Device {
		one, ok := device.(*types.VirtualDisk)
		if !ok {
			s.Config.Hardware.Device = append(s.Config.Hardware.Device, device)
			continue
		}
		if independent(one) {
			continue
		}
		copied, backing := *one, *one.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		d := m.disks[one.Key]
		frozen, id := d.freeze()
		s.frozen[one.Key], s.ids[one.Key] = frozen, id
		backing.FileName = d.backing(frozen)
		if m.tracked() {
			backing.ChangeId = id
		}
		copied.Backing = &backing
		s.Config.Hardware.Device = append(s.Config.Hardware.Device, &copied)
	}
	simulator.Map.Put(s)
	if m.Snapshot == nil {
		m.Snapshot = &types.VirtualMachineSnapshotInfo{}
	}
	item := types.VirtualMachineSnapshotTree{
		Snapshot:        s.Self,
		Vm:              s.Vm,
		Name:            req.Name,
		Description:     req.Description,
		Id:              number,
		CreateTime:      time.Now(),
		State:           m.Runtime.PowerState,
		Quiesced:        req.Quiesce,
		ReplaySupported: types.NewBool(false),
	}
	m.show()
	tree := append([]types.VirtualMachineSnapshotTree{}, m.Snapshot.RootSnapshotList...)
	m.update(&s.Self, append(tree, item)) // side by side: nobody here reverts
	return s
}

// update publishes the snapshots there are.
func (m *machine) update(current *types.ManagedObjectReference, tree []types.VirtualMachineSnapshotTree) {
	var info *types.VirtualMachineSnapshotInfo
	if len(tree) > 0 {
		info = &types.VirtualMachineSnapshotInfo{CurrentSnapshot: current, RootSnapshotList: tree}
	}
	var value types.AnyType
	if info != nil {
		value = *info
	}
	m.Snapshot = info
	simulator.Map.Update(m, []types.PropertyChange{{Name: "snapshot", Val: value}})
}

func (s *snapshot) RemoveSnapshotTask(req *types.RemoveSnapshot_Task) soap.HasFault {
	task := simulator.CreateTask(s.Vm, "removeSnapshot", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		faults.wait()
		if faults.take(&faults.TaskInProgress) {
			return nil, &types.TaskInProgress{Task: types.ManagedObjectReference{Type: "Task", Value: "task-0"}}
		}
		if faults.take(&faults.FailRemove) {
			return nil, &types.GenericVmConfigFault{Reason: "msg.snapshot.error-DELETE"}
		}
		m := simulator.Map.Get(s.Vm).(*machine)
		for key, file := range s.frozen {
			m.disks[key].drop(file)
		}
		var left []types.VirtualMachineSnapshotTree
		var current *types.ManagedObjectReference
		for _, item := range m.Snapshot.RootSnapshotList {
			if item.Snapshot != s.Self {
				left = append(left, item)
				reference := item.Snapshot
				current = &reference
			}
		}
		renamed(m, s)
		m.show()
		m.update(current, left)
		simulator.Map.Remove(s.Self)
		return nil, nil
	})
	return &methods.RemoveSnapshot_TaskBody{Res: &types.RemoveSnapshot_TaskResponse{Returnval: task.Run()}}
}

// renamed lets the snapshots behind a removed one name their files as they are called now.
func renamed(m *machine, removed *snapshot) {
	for key, d := range m.disks {
		place := 0
		for _, item := range m.Snapshot.RootSnapshotList {
			other, ok := simulator.Map.Get(item.Snapshot).(*snapshot)
			if !ok || other.Self == removed.Self || other.frozen[key] == "" {
				continue
			}
			other.frozen[key] = d.files[place]
			for _, found := range m.virtualDisks(other.Config.Hardware.Device) {
				if found.Key == key {
					found.Backing.(*types.VirtualDiskFlatVer2BackingInfo).FileName = d.backing(d.files[place])
				}
			}
			place++
		}
	}
}

// QueryChangedDiskAreas is what the simulator lacks.
func (m *machine) QueryChangedDiskAreas(req *types.QueryChangedDiskAreas) soap.HasFault {
	info, fault := m.query(req)
	body := &methods.QueryChangedDiskAreasBody{}
	if fault != nil {
		body.Fault_ = simulator.Fault("", fault)
	} else {
		body.Res = &types.QueryChangedDiskAreasResponse{Returnval: *info}
	}
	return body
}

func (m *machine) query(req *types.QueryChangedDiskAreas) (*types.DiskChangeInfo, types.BaseMethodFault) {
	if req.Snapshot == nil {
		return nil, &types.InvalidArgument{InvalidProperty: "snapshot"}
	}
	s, ok := simulator.Map.Get(*req.Snapshot).(*snapshot)
	if !ok {
		return nil, &types.ManagedObjectNotFound{Obj: *req.Snapshot}
	}
	d, ok := m.disks[req.DeviceKey]
	if !ok || s.frozen[req.DeviceKey] == "" {
		return nil, &types.InvalidArgument{InvalidProperty: "deviceKey"}
	}
	size := d.sizeOf(s.frozen[req.DeviceKey])
	if req.StartOffset < 0 || req.StartOffset >= size {
		return nil, &types.InvalidArgument{InvalidProperty: "startOffset"}
	}
	mode, window, gaps := faults.query()
	uuid, _, valid := sequence(req.ChangeId)
	if mode == "fault" || !m.tracked() || req.ChangeId != "*" && (!valid || uuid != d.uuid) {
		return nil, &types.FileFault{File: s.frozen[req.DeviceKey]}
	}
	areas, ok := d.changed(req.ChangeId, s.ids[req.DeviceKey], size)
	if !ok {
		return nil, &types.FileFault{File: s.frozen[req.DeviceKey]}
	}
	return answer(areas, req.StartOffset, size, mode, window, gaps), nil
}

// answer cuts a list to a window from start on.
func answer(areas []types.DiskChangeExtent, start, size int64, mode string, window int64, gaps bool) *types.DiskChangeInfo {
	end := size
	if window > 0 {
		end = min(start+window, size)
	}
	info := &types.DiskChangeInfo{StartOffset: start, Length: end - start}
	if mode == "all" {
		info.ChangedArea = []types.DiskChangeExtent{{Start: start, Length: end - start}}
		return info
	}
	if gaps && start/track%2 == 1 { // what changed here comes in the next window: this one is one track long and empty
		if hit := within(areas, start, min(start+track, size)); len(hit) == 0 {
			info.Length = min(track, size-start)
			return info
		}
	}
	info.ChangedArea = within(areas, start, end)
	if mode == "lie" && len(info.ChangedArea) > 0 {
		info.ChangedArea = info.ChangedArea[:len(info.ChangedArea)-1]
	}
	return info
}

func within(areas []types.DiskChangeExtent, start, end int64) []types.DiskChangeExtent {
	var found []types.DiskChangeExtent
	for _, area := range areas {
		first, last := area.Start, area.Start+area.Length
		if first < start {
			first = start
		}
		if last > end {
			last = end
		}
		if last > first {
			found = append(found, types.DiskChangeExtent{Start: first, Length: last - first})
		}
	}
	return found
}

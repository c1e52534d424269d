package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// snapshot is one of a machine's.
type snapshot struct {
	simulator.VirtualMachineSnapshot
	frozen map[int32]string // by device key: the file
	ids    map[int32]string // by device key: the changeId; empty if changes are not tracked
	item   types.VirtualMachineSnapshotTree
}

var snapshots int32

// CreateSnapshotTask makes a snapshot whose content stays.
func (m *machine) CreateSnapshotTask(req *types.CreateSnapshot_Task) soap.HasFault {
	if fault := m.allowed("CreateSnapshot_Task"); fault != nil {
		return &methods.CreateSnapshot_TaskBody{Fault_: simulator.Fault("", fault)}
	}
	task := m.start("createSnapshot", func() (types.AnyType, types.BaseMethodFault) {
		if faults.take(&faults.FailSnapshot) {
			return nil, &types.SnapshotFault{}
		}
		if req.Quiesce && faults.take(&faults.FailQuiesce) {
			return nil, &types.ApplicationQuiesceFault{}
		}
		for _, found := range virtualDisks(m.Config.Hardware.Device) {
			if backingOf(found).Sharing == string(types.VirtualDiskSharingSharingMultiWriter) && !independent(found) {
				return nil, &types.SnapshotFault{}
			}
		}
		return m.freeze(req).Self, nil
	})
	return &methods.CreateSnapshot_TaskBody{Res: &types.CreateSnapshot_TaskResponse{Returnval: task}}
}

// freeze makes a snapshot.
func (m *machine) freeze(req *types.CreateSnapshot_Task) *snapshot {
	s := &snapshot{frozen: map[int32]string{}, ids: map[int32]string{}}
	number := atomic.AddInt32(&snapshots, 1)
	s.Self = types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: fmt.Sprintf("snapshot-%d", number)}
	s.Vm = m.Reference()
	s.Config = *m.Config
	s.Config.Hardware.Device = nil
	m.stunned(func() {
		for _, device := range m.Config.Hardware.Device {
			one, ok := device.(*types.VirtualDisk)
			if !ok || m.disks[one.Key] == nil {
				s.Config.Hardware.Device = append(s.Config.Hardware.Device, device)
			} else if !independent(one) {
				s.Config.Hardware.Device = append(s.Config.Hardware.Device, m.freezeDisk(s, one))
			}
		}
	})
	s.item = types.VirtualMachineSnapshotTree{
		Snapshot:        s.Self,
		Vm:              s.Vm,
		Name:            req.Name,
		Description:     req.Description,
		Id:              number,
		CreateTime:      time.Now(),
		State:           m.Runtime.PowerState,
		Quiesced:        req.Quiesce && !faults.now().IgnoreQuiesce,
		ReplaySupported: types.NewBool(false),
	}
	m.snapshots = append(m.snapshots, s)
	m.publish()
	return s
}

// freezeDisk returns a disk as a snapshot's configuration has it: on the file that the machine wrote to until now.
func (m *machine) freezeDisk(s *snapshot, one *types.VirtualDisk) *types.VirtualDisk {
	copied, backing, d := *one, *backingOf(one), m.disks[one.Key]
	counted := d.follow(m.tracked(), faults.now().LateTracking)
	s.frozen[one.Key] = d.freeze()
	backing.FileName, backing.ChangeId = d.backing(s.frozen[one.Key]), ""
	if counted {
		backing.ChangeId = d.remember(s.frozen[one.Key])
		s.ids[one.Key] = backing.ChangeId
	}
	copied.Backing = &backing
	return &copied
}

// publish shows the snapshots there are, and the files that they and the machine have now.
func (m *machine) publish() {
	m.show()
	var tree []types.VirtualMachineSnapshotTree
	for i := len(m.snapshots) - 1; i >= 0; i-- {
		s := *m.snapshots[i] // a new one: others may be reading the old one
		item := s.item
		item.ChildSnapshotList, s.ChildSnapshot = tree, nil
		for _, child := range tree {
			s.ChildSnapshot = append(s.ChildSnapshot, child.Snapshot)
		}
		tree = []types.VirtualMachineSnapshotTree{item}
		m.rename(i, &s)
		m.snapshots[i] = &s
		simulator.Map.Put(&s)
	}
	var value types.AnyType
	if len(tree) > 0 {
		current := m.snapshots[len(m.snapshots)-1].Self
		value = types.VirtualMachineSnapshotInfo{CurrentSnapshot: &current, RootSnapshotList: tree}
	}
	m.Snapshot = nil
	simulator.Map.Update(m, []types.PropertyChange{{Name: "snapshot", Val: value}})
}

// RemoveSnapshotTask consolidates: the guest's content stays, the snapshot's is gone.
func (s *snapshot) RemoveSnapshotTask(req *types.RemoveSnapshot_Task) soap.HasFault {
	m := simulator.Map.Get(s.Vm).(*machine)
	if fault := m.allowed("RemoveSnapshot_Task"); fault != nil {
		return &methods.RemoveSnapshot_TaskBody{Fault_: simulator.Fault("", fault)}
	}
	var task types.ManagedObjectReference
	simulator.Map.WithLock(m, func() {
		task = m.start("removeSnapshot", func() (types.AnyType, types.BaseMethodFault) {
			if faults.take(&faults.FailRemove) {
				return nil, &types.GenericVmConfigFault{Reason: "msg.snapshot.error-DELETE"}
			}
			place := m.placeOf(s)
			if place < 0 {
				return nil, &types.ManagedObjectNotFound{Obj: s.Self}
			}
			behind := place + 1
			if req.RemoveChildren {
				behind = len(m.snapshots)
			}
			m.remove(place, behind)
			return nil, nil
		})
	})
	return &methods.RemoveSnapshot_TaskBody{Res: &types.RemoveSnapshot_TaskResponse{Returnval: task}}
}

// RemoveAllSnapshotsTask does the same for all.
func (m *machine) RemoveAllSnapshotsTask(*types.RemoveAllSnapshots_Task) soap.HasFault {
	if fault := m.allowed("RemoveAllSnapshots_Task"); fault != nil {
		return &methods.RemoveAllSnapshots_TaskBody{Fault_: simulator.Fault("", fault)}
	}
	task := m.start("removeAllSnapshots", func() (types.AnyType, types.BaseMethodFault) {
		if faults.take(&faults.FailRemove) {
			return nil, &types.GenericVmConfigFault{Reason: "msg.snapshot.error-DELETE"}
		}
		m.remove(0, len(m.snapshots))
		return nil, nil
	})
	return &methods.RemoveAllSnapshots_TaskBody{Res: &types.RemoveAllSnapshots_TaskResponse{Returnval: task}}
}

// RevertToSnapshotTask is what nobody needs here; the simulator's would change nothing and say that it did.
func (s *snapshot) RevertToSnapshotTask(*types.RevertToSnapshot_Task) soap.HasFault {
	return &methods.RevertToSnapshot_TaskBody{Fault_: simulator.Fault("not in the bench", &types.NotSupported{})}
}

// RevertToCurrentSnapshotTask is neither.
func (m *machine) RevertToCurrentSnapshotTask(*types.RevertToCurrentSnapshot_Task) soap.HasFault {
	return &methods.RevertToCurrentSnapshot_TaskBody{
		Fault_: simulator.Fault("not in the bench", &types.NotSupported{}),
	}
}

func (m *machine) placeOf(s *snapshot) int {
	for i, one := range m.snapshots {
		if one.Self == s.Self {
			return i
		}
	}
	return -1
}

// remove ends the snapshots from first on, before last.
func (m *machine) remove(first, last int) {
	removed := append([]*snapshot{}, m.snapshots[first:last]...)
	m.snapshots = append(append([]*snapshot{}, m.snapshots[:first]...), m.snapshots[last:]...)
	m.stunned(func() {
		for i := len(removed) - 1; i >= 0; i-- { // from the newest on, as those behind take names of those before
			for key, file := range removed[i].frozen {
				if d := m.disks[key]; d != nil {
					d.drop(file)
				}
			}
		}
	})
	m.publish()
	for _, s := range removed {
		simulator.Map.Remove(s.Self)
	}
}

// rename lets a snapshot, the index-th one, name its disks' files as they are called now.
func (m *machine) rename(index int, s *snapshot) {
	frozen := map[int32]string{}
	devices := s.Config.Hardware.Device
	s.Config.Hardware.Device = nil
	for _, device := range devices {
		found, ok := device.(*types.VirtualDisk)
		if ok && s.frozen[found.Key] != "" {
			place := 0 // among the snapshots that have this disk
			for _, before := range m.snapshots[:index] {
				if before.frozen[found.Key] != "" {
					place++
				}
			}
			frozen[found.Key] = s.frozen[found.Key]
			if d := m.disks[found.Key]; d != nil {
				frozen[found.Key] = d.files[place]
				one, backing := *found, *backingOf(found)
				backing.FileName = d.backing(d.files[place])
				one.Backing = &backing
				device = &one
			}
		}
		s.Config.Hardware.Device = append(s.Config.Hardware.Device, device)
	}
	s.frozen = frozen
}

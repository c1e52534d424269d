package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

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
	if fault := m.allowed("QueryChangedDiskAreas"); fault != nil {
		return nil, fault
	}
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
	now := faults.now()
	uuid, _, valid := sequence(req.ChangeId)
	if now.Query == "fault" || !d.active || req.ChangeId != "*" && (!valid || uuid != d.uuid) {
		return nil, &types.FileFault{File: s.frozen[req.DeviceKey]}
	}
	areas, ok := d.changed(req.ChangeId, s.ids[req.DeviceKey], size)
	if !ok {
		return nil, &types.FileFault{File: s.frozen[req.DeviceKey]}
	}
	return answer(areas, req.StartOffset, size, &now), nil
}

// answer cuts a list to a window from start on.
func answer(areas []types.DiskChangeExtent, start, size int64, now *wrong) *types.DiskChangeInfo {
	end := size
	if now.Window > 0 {
		end = min(start+now.Window, size)
	}
	info := &types.DiskChangeInfo{StartOffset: start, Length: end - start}
	if now.Query == "all" {
		info.ChangedArea = []types.DiskChangeExtent{{Start: start, Length: end - start}}
		return info
	}
	if now.Gaps && start/track%2 == 1 { // what changed here comes in the next window: this one is one track long and empty
		if hit := within(areas, start, min(start+track, size)); len(hit) == 0 {
			info.Length = min(track, size-start)
			return info
		}
	}
	info.ChangedArea = within(areas, start, end)
	if now.Areas > 0 && len(info.ChangedArea) > now.Areas {
		info.ChangedArea = info.ChangedArea[:now.Areas]
		last := info.ChangedArea[now.Areas-1]
		info.Length = last.Start + last.Length - start
	}
	if now.Query == "lie" && len(info.ChangedArea) > 0 {
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

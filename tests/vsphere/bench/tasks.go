package main

import (
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

type work func() (types.AnyType, types.BaseMethodFault)

// start runs a task of the machine, which is locked, and returns it when it has ended. If tasks have to be slow, it returns
// at once, as a real server does; then the task takes the machine's lock when it goes to work.
func (m *machine) start(name string, run work) types.ManagedObjectReference {
	method := strings.ToUpper(name[:1]) + name[1:] + "_Task"
	task := simulator.CreateTask(m, name+"Task", nil)
	if !m.busy.CompareAndSwap(false, true) {
		finish(task, nil, &types.TaskInProgress{Task: task.Self})
		return task.Self
	}
	if faults.hurry(method) {
		result, fault := m.attempt(task, method, run)
		m.busy.Store(false)
		finish(task, result, fault)
		return task.Self
	}
	update(task, []types.PropertyChange{
		{Name: "info.startTime", Val: time.Now()},
		{Name: "info.state", Val: types.TaskInfoStateRunning},
	})
	go func() {
		faults.wait(method)
		var result types.AnyType
		var fault types.BaseMethodFault
		simulator.Map.WithLock(m, func() { result, fault = m.attempt(task, method, run) })
		m.busy.Store(false)
		finish(task, result, fault)
	}()
	return task.Self
}

func (m *machine) attempt(task *simulator.Task, method string, run work) (types.AnyType, types.BaseMethodFault) {
	for _, disabled := range m.DisabledMethod {
		if disabled == method {
			return nil, &types.MethodDisabled{}
		}
	}
	if faults.take(&faults.TaskInProgress) {
		return nil, &types.TaskInProgress{Task: types.ManagedObjectReference{Type: "Task", Value: "task-0"}}
	}
	return run()
}

// update changes a task under its lock, so that nobody sees half of a change.
func update(task *simulator.Task, changes []types.PropertyChange) {
	simulator.Map.WithLock(task, func() { simulator.Map.Update(task, changes) })
}

func finish(task *simulator.Task, result types.AnyType, fault types.BaseMethodFault) {
	state := types.TaskInfoStateSuccess
	var reason types.AnyType
	if fault != nil {
		state = types.TaskInfoStateError
		name := strings.TrimPrefix(typeName(fault), "*types.")
		reason = types.LocalizedMethodFault{Fault: fault, LocalizedMessage: name}
	}
	update(task, []types.PropertyChange{
		{Name: "info.completeTime", Val: time.Now()},
		{Name: "info.state", Val: state},
		{Name: "info.result", Val: result},
		{Name: "info.error", Val: reason},
	})
}

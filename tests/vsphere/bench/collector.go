package main

import (
	"reflect"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// collector is the simulator's, which panics when a client asks for a property that is unset.
type collector struct {
	simulator.PropertyCollector
}

// FetchResponse has the name that the answer has.
type FetchResponse struct {
	Returnval types.AnyType `xml:"returnval,omitempty,typeattr"`
}

type fetchBody struct {
	Res *FetchResponse
}

func (b *fetchBody) Fault() *soap.Fault { return nil }

// Fetch answers for an unset property with nothing; its request has a type that is the simulator's own.
func (c *collector) Fetch(ctx *simulator.Context, req interface{}) (answer soap.HasFault) {
	defer func() {
		if reason := recover(); reason != nil {
			if err, ok := reason.(error); !ok || !strings.HasSuffix(err.Error(), "index out of range [0] with length 0") {
				panic(reason)
			}
			answer = &fetchBody{Res: &FetchResponse{}}
		}
	}()
	fetch := reflect.ValueOf(&c.PropertyCollector).MethodByName("Fetch")
	return fetch.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(req)})[0].Interface().(soap.HasFault)
}

// collect puts it into place.
func collect() {
	service := simulator.Map.Get(vim25.ServiceInstance).(*simulator.ServiceInstance)
	mine := &collector{}
	mine.Self = service.Content.PropertyCollector
	simulator.Map.Put(mine)
}

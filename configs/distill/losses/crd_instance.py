# CRD of objects with a row for each instance, which moves from frame to frame and does not queue.
_base_ = ['crd_object.py']

# The filters of boxes and the packing, wrapped.
steps = _base_.train_pipeline
train_pipeline = [*steps[:-4], dict(type='KeepInstanceIds', transforms=steps[-4:])]
del steps
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(links=dict(neck_crd_object=dict(loss=dict(memory=dict(queue_length=1024)))))

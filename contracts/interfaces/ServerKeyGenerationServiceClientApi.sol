// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What clients use to have a server key generated.
interface ServerKeyGenerationServiceClientApi {
    event ServerKeyGenerated(bytes32 indexed serverKeyId, bytes serverKeyPublic);
    event ServerKeyGenerationError(bytes32 indexed serverKeyId);

    function generateServerKey(bytes32 serverKeyId, uint8 threshold) external payable;
}

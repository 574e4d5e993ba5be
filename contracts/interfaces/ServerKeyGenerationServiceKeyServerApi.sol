// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What key servers use to answer generation requests.
interface ServerKeyGenerationServiceKeyServerApi {
    event ServerKeyGenerationRequested(bytes32 serverKeyId, address author, uint8 threshold);

    function getServerKeyGenerationRequest(uint256 index)
        external
        view
        returns (bytes32 serverKeyId, address author, uint256 threshold);

    function isServerKeyGenerationResponseRequired(bytes32 serverKeyId, address keyServer)
        external
        view
        returns (bool);

    function serverKeyGenerated(bytes32 serverKeyId, bytes calldata serverKeyPublic) external;

    function serverKeyGenerationError(bytes32 serverKeyId) external;

    function serverKeyGenerationRequestsCount() external view returns (uint256);
}
